package kernel

import "math"

// DropoutArgs names a dropout layer's random draw. Whether element e of a
// tensor is kept depends on these values and e alone, so that any division of
// a tensor over calls, threads or machines draws the same numbers:
//
//	block := e / 4
//	words := Philox4x32(
//		[4]uint32{uint32(block), uint32(block >> 32), Site, Step},
//		[2]uint32{uint32(Seed), uint32(Seed >> 32)})
//	keep  := words[e%4] >= uint32(P * (1 << 32))
type DropoutArgs struct {
	P     float64 // probability of zero, in [0, 1)
	Seed  uint64  // of the training run
	Step  uint32
	Site  uint32 // which layer
	First uint64 // index e of the slice's first element
}

type dropoutTask struct {
	in   *inner
	y, x []float32
	d    DropoutArgs
	k    dropoutFactors
}

// dropoutFactors are the constants of a draw, in the order the assembly reads.
type dropoutFactors = [4 + 2*philoxRounds]uint32

const (
	site = iota
	step
	threshold
	keepScale // bits of the float32 1/(1-P)
	roundKeys // two a round
)

// Dropout sets y = x / (1-P) where an element is kept, 0 elsewhere. Applied
// to dy with the same arguments it is the gradient. y may be x.
func Dropout(p *Pool, y, x []float32, d DropoutArgs) {
	t := &p.tasks.dropout
	*t = dropoutTask{active.Load(), y, x[:len(y)], d, d.factors()}
	p.run(len(y), chunk, t)
	*t = dropoutTask{}
}

func (d *DropoutArgs) factors() dropoutFactors {
	k := dropoutFactors{
		site: d.Site, step: d.Step,
		threshold: uint32(d.P * (1 << 32)), keepScale: math.Float32bits(float32(1 / (1 - d.P))),
	}
	key := [2]uint32{uint32(d.Seed), uint32(d.Seed >> 32)}
	for round := range philoxRounds {
		copy(k[roundKeys+2*round:], key[:])
		key[0], key[1] = key[0]+philoxKey0, key[1]+philoxKey1
	}
	return k
}

// dropoutGroup is a number of elements the vector kernels do at once.
const dropoutGroup = 32

func (t *dropoutTask) run(_, lo, hi int) {
	aligned := min(lo+int(-(t.d.First+uint64(lo))%4), hi)
	groups := aligned + (hi-aligned)/dropoutGroup*dropoutGroup
	t.words(lo, aligned)
	t.in.dropout(t.y[aligned:groups], t.x[aligned:groups], (t.d.First+uint64(aligned))/4, &t.k)
	t.words(groups, hi)
}

// words does the elements from lo up to hi by the definition.
func (t *dropoutTask) words(lo, hi int) {
	for i := lo; i < hi; {
		e := t.d.First + uint64(i)
		words := philoxBlock(e/4, &t.k)
		for j := e % 4; j < 4 && i < hi; j, i = j+1, i+1 {
			t.y[i] = kept(t.x[i], words[j], &t.k)
		}
	}
}

func philoxBlock(block uint64, k *dropoutFactors) [4]uint32 {
	return Philox4x32([4]uint32{uint32(block), uint32(block >> 32), k[site], k[step]}, [2]uint32{k[roundKeys], k[roundKeys+1]})
}

func kept(x float32, word uint32, k *dropoutFactors) float32 {
	if word >= k[threshold] {
		return x * math.Float32frombits(k[keepScale])
	}
	return 0
}

// dropoutGeneric does whole blocks.
func dropoutGeneric(y, x []float32, block uint64, k *dropoutFactors) {
	for i := 0; i < len(y); i += 4 {
		for j, w := range philoxBlock(block+uint64(i/4), k) {
			y[i+j] = kept(x[i+j], w, k)
		}
	}
}
