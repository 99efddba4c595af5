package kernel

import (
	"math"
	"unsafe"
)

// Numbers in bf16 are kept as the upper 16 bits of the float32 that they are
// rounded to. A row of an even number of them is a row of pairs.

// bf16Block is how many elements a kernel computes in float32 before it rounds
// them to where they are kept.
const bf16Block = 2048

// NarrowBF16 sets y to x rounded to bf16.
func NarrowBF16(y []uint16, x []float32) { active.Load().toBF16(y[:len(x)], x) }

// WidenBF16 sets y to the bf16 numbers x.
func WidenBF16(y []float32, x []uint16) { active.Load().fromBF16(y[:len(x)], x) }

// toBF16 sets y to x rounded.
func (in *inner) toBF16(y []uint16, x []float32) {
	n := len(x)
	switch {
	case in.pairs != nil:
		n &^= 1
		in.pairs.row(lanesOf(y), x[:n])
	case in.narrow != nil:
		n &^= in.vector - 1
		in.narrow(y[:n], x[:n])
	default:
		n = 0
	}
	for i, v := range x[n:] {
		y[n+i] = uint16(math.Float32bits(roundBF16Generic(v)) >> 16)
	}
}

// fromBF16 sets y to x.
func (in *inner) fromBF16(y []float32, x []uint16) {
	n := 0
	if in.widen != nil {
		n = len(x) &^ (in.vector - 1)
		in.widen(y[:n], x[:n])
	}
	for i, v := range x[n:] {
		y[n+i] = math.Float32frombits(uint32(v) << 16)
	}
}

// lanesOf is the memory of x as pairs, without a last one that has no partner.
func lanesOf(x []uint16) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x)/2)
}

// wordsOf is the memory of pairs as numbers.
func wordsOf(x []float32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(x))), 2*len(x))
}

// lastBlock is the end of a worker's scratch memory, for a block of results that are
// about to be rounded.
func lastBlock(worker []float32) []float32 { return worker[len(worker)-bf16Block:] }

// roundedTo sets y to f of x, rounded; a nil f changes nothing.
func (in *inner) roundedTo(y []uint16, f func(y, x []float32), x, block []float32) {
	if f == nil {
		in.toBF16(y, x)
		return
	}
	for len(x) > 0 {
		n := min(len(x), bf16Block)
		f(block[:n], x[:n])
		in.toBF16(y[:n], block[:n])
		y, x = y[n:], x[n:]
	}
}

type roundedTask struct {
	in      *inner
	f       func(y, x []float32)
	y       []uint16
	x       []float32
	workers [][]float32
}

// ActivationBF16 sets y to f at x, rounded to bf16.
func ActivationBF16(p *Pool, y []uint16, f Function, x []float32) {
	t, in := &p.tasks.rounded, active.Load()
	value, _ := in.function(f)
	*t = roundedTask{in, value, y, x[:len(y)], p.scratch.workers}
	p.run(len(y), chunk, t)
	*t = roundedTask{}
}

func (t *roundedTask) run(worker, lo, hi int) {
	t.in.roundedTo(t.y[lo:hi], t.f, t.x[lo:hi], lastBlock(t.workers[worker]))
}
