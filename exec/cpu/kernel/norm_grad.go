package kernel

// normChunks is the number of blocks of rows whose shares of dgamma and dbeta
// are summed apart.
const normChunks = 32

// normGradTask is the gradient of a norm; a nil mean means RMS norm.
type normGradTask struct {
	in                       *inner
	dx, dgamma, dbeta        []float32
	dy, x, gamma, mean, rstd []float32
	rows, cols               int
	chunkRows                int
	partial                  []float32 // [chunks, 2, cols]: dgamma and dbeta
}

// LayerNormGrad is the gradient of [LayerNorm]: dx [rows, cols], and dgamma and
// dbeta [cols], which it sets or adds to. A nil dbeta is left out. dx may be
// dy. With g = dy gamma and xhat = (x - mean) rstd,
//
//	dx = rstd (g - mean(g) - xhat mean(g xhat)).
//
// Rows are summed in at most 32 blocks, and the blocks in their order.
func LayerNormGrad(p *Pool, dx, dgamma, dbeta, dy, x, gamma, mean, rstd []float32, rows, cols int, accumulate bool) {
	normaliseGrad(p, accumulate, normGradTask{
		in: active.Load(), dx: dx, dgamma: dgamma, dbeta: dbeta,
		dy: dy, x: x, gamma: gamma, mean: mean, rstd: rstd, rows: rows, cols: cols,
	})
}

// RMSNormGrad is the gradient of [RMSNorm], as [LayerNormGrad] with a mean of
// zero and no mean(g).
func RMSNormGrad(p *Pool, dx, dgamma, dy, x, gamma, rstd []float32, rows, cols int, accumulate bool) {
	normaliseGrad(p, accumulate, normGradTask{
		in: active.Load(), dx: dx, dgamma: dgamma,
		dy: dy, x: x, gamma: gamma, rstd: rstd, rows: rows, cols: cols,
	})
}

func normaliseGrad(p *Pool, accumulate bool, args normGradTask) {
	t := &p.tasks.normGrad
	*t = args
	chunks := max(1, min(normChunks, len(p.scratch.a)/(2*max(t.cols, 1))))
	t.chunkRows = max(1, ceil(t.rows, chunks))
	chunks = ceil(t.rows, t.chunkRows)
	t.partial = p.scratch.a[:chunks*2*t.cols]
	p.run(chunks, 1, t)
	for i, sum := range [2][]float32{t.dgamma, t.dbeta} {
		if sum == nil {
			continue
		}
		sum = sum[:t.cols]
		if !accumulate {
			clear(sum)
		}
		for c := range chunks {
			t.in.add(sum, sum, t.partial[(2*c+i)*t.cols:][:t.cols])
		}
	}
	*t = normGradTask{}
}

func (t *normGradTask) run(_, lo, hi int) {
	for c := lo; c < hi; c++ {
		part := t.partial[2*c*t.cols:][:2*t.cols]
		clear(part)
		for r := c * t.chunkRows; r < min((c+1)*t.chunkRows, t.rows); r++ {
			t.row(r, part[:t.cols], part[t.cols:])
		}
	}
}

func (t *normGradTask) row(r int, dgamma, dbeta []float32) {
	dx, dy, x := t.dx[r*t.cols:][:t.cols], t.dy[r*t.cols:][:t.cols], t.x[r*t.cols:][:t.cols]
	gamma, rstd := t.gamma[:t.cols], t.rstd[r]
	var mean float32
	if t.mean != nil {
		mean = t.mean[r]
	}
	s1, s2 := t.in.normSums(dgamma, dbeta, dy, x, gamma, mean, rstd)
	m1, m2 := s1/float32(t.cols), s2/float32(t.cols)
	if t.mean == nil {
		m1 = 0
	}
	t.in.normGrad(dx, dy, x, gamma, mean, rstd, m1, m2)
}
