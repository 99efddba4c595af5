package kernel

import "unsafe"

// The kernels of this file serve no model: their speed is what the processor
// and its memory can do at most, which others are measured against.

// peakRounds is the number of rounds of [MulAdds] a worker claims, at least:
// some 100 us.
const peakRounds = 1 << 14

type peakTask struct {
	f           func(n int, x, y float32) float32
	x, y        float32
	grain, size int
	sums        []float64
}

// MulAdds runs rounds of z = z x + y on numbers z that start from zero, stay in
// registers and do not depend on each other, with one instruction set: nothing
// does more floating-point operations a second. Workers claim ranges of the
// rounds and start each from zero. It gives the number of operations done, two a
// number and round, and the sum of all numbers at the ends of the ranges, into
// which every one of them goes. The error is an [*ISAError].
func MulAdds(p *Pool, isa ISA, rounds int, x, y float32) (flops, sum float64, err error) {
	in, err := lookup(isa)
	if err != nil || rounds <= 0 {
		return 0, 0, err
	}
	sum = peakSum(p, in.mulAdds, rounds, x, y)
	return 2 * float64(rounds) * float64(in.chains), sum, nil
}

// peakSum runs f in ranges of rounds.
func peakSum(p *Pool, f func(n int, x, y float32) float32, rounds int, x, y float32) (sum float64) {
	if rounds <= 0 {
		return 0
	}
	grain := max(peakRounds, ceil(rounds, sumChunks))
	t := &p.tasks.peak
	*t = peakTask{f, x, y, grain, rounds, p.scratch.sums}
	p.run(ceil(rounds, grain), 1, t)
	*t = peakTask{}
	for _, s := range p.scratch.sums[:ceil(rounds, grain)] {
		sum += s
	}
	return sum
}

func (t *peakTask) run(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.sums[i] = float64(t.f(min(t.grain, t.size-i*t.grain), t.x, t.y))
	}
}

// MulAddsBF16 is [MulAdds] for bf16: it runs rounds of z = z + x y + x y on
// float32 numbers z, x and y rounded to bf16, four operations a number and round.
// The error is an [*ISAError] where the instruction set in use has none of it.
func MulAddsBF16(p *Pool, rounds int, x, y float32) (flops, sum float64, err error) {
	pairs := active.Load().pairs
	if pairs == nil {
		return 0, 0, &ISAError{"avx512_bf16", ISAs()}
	}
	xx, yy := pairOf(x, x), pairOf(y, y)
	loop := func(n int, _, _ float32) float32 { return pairs.mulAdds(n, &xx, &yy) }
	sum = peakSum(p, loop, rounds, x, y)
	return 4 * float64(max(rounds, 0)) * float64(pairs.chains), sum, nil
}

type sumTask struct {
	f    func(x []float32) float32
	x    []float32
	size int
	sums []float64
}

// Sum is the sum of x: of up to 1024 chunks whose size follows from len(x), each
// in float32, added in their order in float64. It does nothing but read.
func Sum(p *Pool, x []float32) float64 {
	size := max(chunk, ceil(len(x), sumChunks))
	chunks := ceil(len(x), size)
	t := &p.tasks.sum
	*t = sumTask{active.Load().sum, x, size, p.scratch.sums}
	p.run(chunks, 1, t)
	*t = sumTask{}
	var total float64
	for _, s := range p.scratch.sums[:chunks] {
		total += s
	}
	return total
}

func (t *sumTask) run(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.sums[i] = float64(t.f(t.x[i*t.size : min((i+1)*t.size, len(t.x))]))
	}
}

type triadTask struct {
	f       func(y, a, b []float32, s float32)
	y, a, b []float32
	s       float32
}

// Triad sets y = a + s b: McCalpin, Memory Bandwidth and Machine Balance in
// Current High Performance Computers (1995). A y that starts at a multiple of 64
// bytes, as [Alloc]'s, is written past the cache where the instruction set can.
func Triad(p *Pool, y, a, b []float32, s float32) {
	n := len(y)
	if n == 0 {
		return
	}
	f, whole := active.Load().triad, n&^15
	if uintptr(unsafe.Pointer(&y[0]))%64 != 0 {
		f, whole = triadGeneric, n
	}
	t := &p.tasks.triad
	*t = triadTask{f, y, a[:n], b[:n], s}
	p.run(whole, chunk, t)
	*t = triadTask{}
	triadGeneric(y[whole:], a[whole:n], b[whole:n], s)
}

func (t *triadTask) run(_, lo, hi int) {
	t.f(t.y[lo:hi], t.a[lo:hi], t.b[lo:hi], t.s)
}
