package bench

import (
	"fmt"
	"math"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
)

// products are the layers that multiply by parameters, for each number of rows,
// and attention.
func (z *cpuSizes) products() (groups []func(a *arena) []job) {
	layers := [][2]int{ // input and output width
		{z.width, 3 * z.width}, // query, key and value
		{z.width, z.width},     // what attention gives
		{z.width, z.hidden},    // the MLP's first
		{z.hidden, z.width},    // and second
	}
	if z.head {
		layers = append(layers, [2]int{z.width, z.vocab})
	}
	for _, rows := range z.rows {
		for _, l := range layers {
			groups = append(groups, func(a *arena) []job { return linear(a, rows, l[0], l[1]) })
		}
	}
	return append(groups, z.attention)
}

// linear is a layer y = x w and its gradients.
func linear(a *arena, rows, in, out int) []job {
	x, w, y := a.floats(rows*in), a.floats(in*out), a.floats(rows*out)
	dx, dw := a.floats(rows*in), a.floats(in*out)
	var jobs []job
	for _, c := range []struct {
		form string
		g    kernel.GemmArgs
	}{
		{"NT", kernel.GemmArgs{M: rows, N: in, K: out, A: y, LDA: out, B: w, LDB: out, TransB: true, C: dx, LDC: in}},
		{"TN", kernel.GemmArgs{M: in, N: out, K: rows, A: x, LDA: in, TransA: true, B: y, LDB: out, C: dw, LDC: out}},
		// Last, as y is no longer random then, and its elements no longer repeat.
		{"NN", kernel.GemmArgs{M: rows, N: out, K: in, A: x, LDA: in, B: w, LDB: out, C: y, LDC: out}},
	} {
		jobs = append(jobs, gemm(rows, c.form, c.g))
		if kernel.HasBF16() {
			jobs = append(jobs, gemmBF16(c.form, c.g))
		}
	}
	return jobs
}

// gemmBF16 is a product whose operands are rounded to bf16.
func gemmBF16(form string, g kernel.GemmArgs) job {
	g.BF16 = true
	j := gemm(0, form, g)
	j.bound, j.product = operationsBF16, nil
	j.name = fmt.Sprintf("gemm-bf16-%s-%dx%dx%d", form, g.M, g.N, g.K)
	return j
}

func gemm(rows int, form string, g kernel.GemmArgs) job {
	return job{
		bound: operations,
		name:  fmt.Sprintf("gemm-fp32-%s-%dx%dx%d", form, g.M, g.N, g.K),
		work:  2 * float64(g.M) * float64(g.N) * float64(g.K),
		run:   func(p *kernel.Pool) { kernel.Gemm(p, g) },

		product: &g, rows: rows,
	}
}

// attention is causal. Only pairs of a query and a key it sees count: two
// products of 2 D operations forward, and five backward, one of which computes
// the scores again.
func (z *cpuSizes) attention(a *arena) []job {
	b, t, h, d := z.batch, z.tokens, z.heads, z.dim
	q, k, v := kernel.PackedHeads(a.floats(3*b*t*h*d), t, h, d)
	dq, dk, dv := kernel.PackedHeads(a.floats(3*b*t*h*d), t, h, d)
	plain := func() kernel.Heads { return kernel.PlainHeads(a.floats(b*t*h*d), t, h, d) }
	forward := kernel.AttentionArgs{
		Batch: b, Heads: h, KVHeads: h, Queries: t, Keys: t, Dim: d, Scale: float32(1 / math.Sqrt(float64(d))), Causal: true,
		Q: q, K: k, V: v, Out: plain(), LSE: a.floats(b * h * t),
	}
	backward := kernel.AttentionGradArgs{AttentionArgs: forward, DOut: plain(), DQ: dq, DK: dk, DV: dv}
	product := 2 * float64(d) * float64(b*h) * float64(t*(t+1)/2)
	size := fmt.Sprintf("B%d-H%d-T%d-D%d", b, h, t, d)
	return []job{
		{bound: operations, name: "attention-fp32-" + size, work: 2 * product, run: func(p *kernel.Pool) { kernel.Attention(p, forward) }},
		{bound: operations, name: "attention-grad-fp32-" + size, work: 5 * product, run: func(p *kernel.Pool) { kernel.AttentionGrad(p, backward) }},
	}
}
