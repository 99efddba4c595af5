package kernel

import "math"

// normTask normalises rows; a nil mean means RMS norm.
type normTask struct {
	in                            *inner
	y, mean, rstd, x, gamma, beta []float32
	cols                          int
	eps                           float64

	y16     []uint16 // in place of y
	workers [][]float32
}

// LayerNorm normalises each row of x [rows, cols]:
//
//	y = (x - mean) rstd gamma + beta, rstd = 1/sqrt(variance + eps)
//
// with the biased variance, and saves mean and rstd [rows]. A nil beta adds
// nothing. Ba, Kiros and Hinton, Layer Normalization (2016).
func LayerNorm(p *Pool, y, mean, rstd, x, gamma, beta []float32, rows, cols int, eps float64) {
	normalise(p, rows, normTask{in: active.Load(), y: y, mean: mean, rstd: rstd, x: x, gamma: gamma, beta: beta, cols: cols, eps: eps})
}

// LayerNormBF16 is [LayerNorm] with its result rounded to bf16.
func LayerNormBF16(p *Pool, y []uint16, mean, rstd, x, gamma, beta []float32, rows, cols int, eps float64) {
	normalise(p, rows, normTask{in: active.Load(), y16: y, mean: mean, rstd: rstd, x: x, gamma: gamma, beta: beta, cols: cols, eps: eps})
}

// RMSNorm scales each row of x [rows, cols]:
//
//	y = x rstd gamma, rstd = 1/sqrt(mean of x^2 + eps)
//
// and saves rstd [rows]. Zhang and Sennrich, Root Mean Square Layer
// Normalization (2019).
func RMSNorm(p *Pool, y, rstd, x, gamma []float32, rows, cols int, eps float64) {
	normalise(p, rows, normTask{in: active.Load(), y: y, rstd: rstd, x: x, gamma: gamma, cols: cols, eps: eps})
}

// RMSNormBF16 is [RMSNorm] with its result rounded to bf16.
func RMSNormBF16(p *Pool, y []uint16, rstd, x, gamma []float32, rows, cols int, eps float64) {
	normalise(p, rows, normTask{in: active.Load(), y16: y, rstd: rstd, x: x, gamma: gamma, cols: cols, eps: eps})
}

func normalise(p *Pool, rows int, args normTask) {
	args.workers = p.scratch.workers
	p.tasks.norm = args
	p.run(rows, rowGrain(args.cols), &p.tasks.norm)
	p.tasks.norm = normTask{}
}

func (t *normTask) run(worker, lo, hi int) {
	n := float64(t.cols)
	for r := lo; r < hi; r++ {
		x := t.x[r*t.cols:][:t.cols]
		var mean, squares float32
		if t.mean == nil {
			squares = t.in.dot(x, x)
		} else {
			mean = float32(float64(t.in.sum(x)) / n)
			squares = t.in.squaredDeviation(x, mean)
			t.mean[r] = mean
		}
		rstd := float32(1 / math.Sqrt(float64(squares)/n+t.eps))
		t.rstd[r] = rstd
		if t.y16 == nil {
			t.scale(t.y[r*t.cols:][:t.cols], x, 0, mean, rstd)
			continue
		}
		block := lastBlock(t.workers[worker])
		for c := 0; c < t.cols; c += bf16Block {
			k := min(bf16Block, t.cols-c)
			t.scale(block[:k], x[c:][:k], c, mean, rstd)
			t.in.toBF16(t.y16[r*t.cols+c:][:k], block[:k])
		}
	}
}

// scale does the columns of a row from col on.
func (t *normTask) scale(y, x []float32, col int, mean, rstd float32) {
	gamma := t.gamma[col:][:len(x)]
	if t.beta == nil {
		t.in.normScale(y, x, gamma, mean, rstd)
	} else {
		t.in.norm(y, x, gamma, t.beta[col:][:len(x)], mean, rstd)
	}
}
