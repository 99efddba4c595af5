package bench

import (
	"fmt"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/cpu/probe"
)

// products are the layers that multiply by parameters, for each number of rows,
// and attention.
func (z *cpuSizes) products() (groups []func(a *probe.Arena) []job) {
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
			groups = append(groups, func(a *probe.Arena) []job { return linear(a, rows, l[0], l[1]) })
		}
	}
	return append(groups, z.attention)
}

// linear is a layer y = x w and its gradients.
func linear(a *probe.Arena, rows, in, out int) []job {
	var jobs []job
	for _, p := range probe.Linear(a, rows, in, out) {
		jobs = append(jobs, gemm(rows, p))
		if kernel.HasBF16() {
			jobs = append(jobs, gemmBF16(p))
		}
	}
	return jobs
}

// gemmBF16 is a product whose operands are rounded to bf16.
func gemmBF16(p probe.Product) job {
	p.Args.BF16 = true
	j := gemm(0, p)
	j.bound, j.product = operationsBF16, nil
	j.name = "gemm-bf16-" + productName(p)
	return j
}

func gemm(rows int, p probe.Product) job {
	return job{
		bound: operations,
		name:  "gemm-fp32-" + productName(p),
		work:  float64(p.FLOPs()),
		run:   func(pool *kernel.Pool) { kernel.Gemm(pool, p.Args) },

		product: &p.Args, rows: rows,
	}
}

func productName(p probe.Product) string {
	return fmt.Sprintf("%s-%dx%dx%d", p.Form, p.Args.M, p.Args.N, p.Args.K)
}

// attention is causal. Only pairs of a query and a key it sees count: two
// products of 2 D operations forward, and five backward, one of which computes
// the scores again.
func (z *cpuSizes) attention(a *probe.Arena) []job {
	x := probe.NewAttention(a, z.batch, z.heads, z.tokens, z.dim)
	size := fmt.Sprintf("B%d-H%d-T%d-D%d", z.batch, z.heads, z.tokens, z.dim)
	return []job{
		{bound: operations, name: "attention-fp32-" + size, work: float64(x.ForwardFLOPs()), run: x.Forward},
		{bound: operations, name: "attention-grad-fp32-" + size, work: float64(x.BackwardFLOPs()), run: x.Backward},
	}
}
