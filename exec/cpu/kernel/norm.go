package kernel

import "math"

// normTask normalises rows; a nil mean means RMS norm.
type normTask struct {
	in                            *inner
	y, mean, rstd, x, gamma, beta []float32
	cols                          int
	eps                           float64
}

// LayerNorm normalises each row of x [rows, cols]:
//
//	y = (x - mean) rstd gamma + beta, rstd = 1/sqrt(variance + eps)
//
// with the biased variance, and saves mean and rstd [rows]. A nil beta adds
// nothing. Ba, Kiros and Hinton, Layer Normalization (2016).
func LayerNorm(p *Pool, y, mean, rstd, x, gamma, beta []float32, rows, cols int, eps float64) {
	normalise(p, rows, normTask{active.Load(), y, mean, rstd, x, gamma, beta, cols, eps})
}

// RMSNorm scales each row of x [rows, cols]:
//
//	y = x rstd gamma, rstd = 1/sqrt(mean of x^2 + eps)
//
// and saves rstd [rows]. Zhang and Sennrich, Root Mean Square Layer
// Normalization (2019).
func RMSNorm(p *Pool, y, rstd, x, gamma []float32, rows, cols int, eps float64) {
	normalise(p, rows, normTask{active.Load(), y, nil, rstd, x, gamma, nil, cols, eps})
}

func normalise(p *Pool, rows int, args normTask) {
	p.tasks.norm = args
	p.run(rows, rowGrain(args.cols), &p.tasks.norm)
	p.tasks.norm = normTask{}
}

func (t *normTask) run(_, lo, hi int) {
	n := float64(t.cols)
	gamma := t.gamma[:t.cols]
	for r := lo; r < hi; r++ {
		x, y := t.x[r*t.cols:][:t.cols], t.y[r*t.cols:][:t.cols]
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
		if t.beta == nil {
			t.in.normScale(y, x, gamma, mean, rstd)
		} else {
			t.in.norm(y, x, gamma, t.beta[:t.cols], mean, rstd)
		}
	}
}
