package kernel

type squaresTask struct {
	f    func(x []float32) float64
	x    []float32
	size int
	sums []float64
}

// SumSquares is the sum of the squares of x in float64: of up to 1024 chunks
// whose size follows from len(x), added in their order.
func SumSquares(p *Pool, x []float32) float64 {
	size := max(1<<12, ceil(len(x), sumChunks))
	chunks := ceil(len(x), size)
	t := &p.tasks.squares
	*t = squaresTask{active.Load().sumSquares, x, size, p.scratch.sums}
	p.run(chunks, 4, t)
	*t = squaresTask{}
	var total float64
	for _, s := range p.scratch.sums[:chunks] {
		total += s
	}
	return total
}

func (t *squaresTask) run(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.sums[i] = t.f(t.x[i*t.size : min((i+1)*t.size, len(t.x))])
	}
}
