package kernel

import (
	"math"
	"slices"
)

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
	Cut   Cut    // of the others
}

// Cut says how a slice lies in the tensor that it is a part of: in runs of
// elements that follow one another there. The starts of the runs step through
// Steps, outermost first. The zero Cut is a single run.
type Cut struct {
	Run   int
	Steps []Step
}

// Step is Count steps of Stride elements.
type Step struct {
	Count  int
	Stride uint64
}

// at is how far element i lies from the first in the whole tensor, and how many
// elements its run has left.
func (c *Cut) at(i int) (offset uint64, left int) {
	if c.Run == 0 {
		return uint64(i), math.MaxInt
	}
	run := i / c.Run
	for _, s := range slices.Backward(c.Steps) {
		offset += uint64(run%s.Count) * s.Stride
		run /= s.Count
	}
	i %= c.Run
	return offset + uint64(i), c.Run - i
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
	for lo < hi {
		offset, left := t.d.Cut.at(lo)
		end := lo + min(left, hi-lo)
		t.span(lo, end, t.d.First+offset-uint64(lo))
		lo = end
	}
}

// span does the elements from lo up to hi, which follow one another in the
// whole tensor; there they have their index here and base.
func (t *dropoutTask) span(lo, hi int, base uint64) {
	aligned := min(lo+int(-(base+uint64(lo))%4), hi)
	groups := aligned + (hi-aligned)/dropoutGroup*dropoutGroup
	t.words(lo, aligned, base)
	t.in.dropout(t.y[aligned:groups], t.x[aligned:groups], (base+uint64(aligned))/4, &t.k)
	t.words(groups, hi, base)
}

// words does the elements of a span by the definition.
func (t *dropoutTask) words(lo, hi int, base uint64) {
	for i := lo; i < hi; {
		e := base + uint64(i)
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
