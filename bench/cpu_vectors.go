package bench

import (
	"fmt"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/cpu/probe"
)

// The work of the kernels that memory bounds is the bytes of the operands they
// must read and write, each counted once.

func (z *cpuSizes) gelu(a *probe.Arena) []job {
	rows := z.elements / z.hidden
	n := rows * z.hidden
	x, y, dx := a.Floats(n), a.Floats(n), a.Floats(n)
	size := fmt.Sprintf("%dx%d", rows, z.hidden)
	return []job{
		{bound: streams, name: "gelu-fp32-" + size, work: traffic(2 * n), run: func(p *kernel.Pool) { kernel.GELUTanh(p, y, x) }},
		{bound: streams, name: "gelu-grad-fp32-" + size, work: traffic(3 * n), run: func(p *kernel.Pool) { kernel.GELUTanhGrad(p, dx, y, x) }},
	}
}

func (z *cpuSizes) layerNorm(a *probe.Arena) []job {
	cols := z.width
	rows := z.elements / cols
	n := rows * cols
	x, y, dx := a.Floats(n), a.Floats(n), a.Floats(n)
	mean, rstd := a.Floats(rows), a.Floats(rows)
	gamma, beta, dgamma, dbeta := a.Floats(cols), a.Floats(cols), a.Floats(cols), a.Floats(cols)
	size := fmt.Sprintf("%dx%d", rows, cols)
	return []job{
		{bound: streams, name: "layer-norm-fp32-" + size, work: traffic(2 * n), run: func(p *kernel.Pool) {
			kernel.LayerNorm(p, y, mean, rstd, x, gamma, beta, rows, cols, 1e-5)
		}},
		{bound: streams, name: "layer-norm-grad-fp32-" + size, work: traffic(3 * n), run: func(p *kernel.Pool) {
			kernel.LayerNormGrad(p, dx, dgamma, dbeta, y, x, gamma, mean, rstd, rows, cols, false)
		}},
	}
}

// crossEntropy's gradient takes the place of the logits, as in training.
func (z *cpuSizes) crossEntropy(a *probe.Arena) []job {
	rows, cols := z.lossRows, z.vocab
	logits, lse, targets := a.Floats(rows*cols), a.Floats(rows), make([]int32, rows)
	for i := range targets {
		targets[i] = int32(i * 97 % cols)
	}
	scale := 1 / float64(rows)
	size := fmt.Sprintf("%dx%d", rows, cols)
	return []job{
		{bound: reads, name: "cross-entropy-fp32-" + size, work: traffic(rows * cols), run: func(p *kernel.Pool) {
			kernel.CrossEntropy(p, lse, logits, targets, cols, cols, scale)
		}},
		{bound: updates, name: "cross-entropy-grad-fp32-" + size, work: traffic(2 * rows * cols), run: func(p *kernel.Pool) {
			kernel.CrossEntropyGrad(p, logits, logits, lse, targets, kernel.WholeVocabulary(cols), cols, float32(scale))
		}},
	}
}

func (z *cpuSizes) adamW(a *probe.Arena) []job {
	n := z.elements
	param, m, v, grad := a.Floats(n), a.Floats(n), a.Floats(n), a.Floats(n)
	clear(v) // no square is negative
	args := kernel.AdamWArgs{LR: learningRate, Beta1: beta1, Beta2: beta2, Eps: epsilon, WeightDecay: 0.1, Step: 10, GradScale: 1}
	return []job{{bound: updates, name: fmt.Sprintf("adamw-fp32-%d", n), work: traffic(7 * n), run: func(p *kernel.Pool) { kernel.AdamW(p, param, m, v, grad, args) }}}
}
