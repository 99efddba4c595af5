package cpu

import (
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// product is a kernel for C [m, n] = op(A) op(B), A and B being operands of
// those numbers, dense, and of what follows it.
func product(p *kernel.Pool, precision exec.Precision, a, b, bias int, m, n, k int, transA, transB bool, then ...epilogue) *exec.Kernel {
	g := kernel.GemmArgs{M: m, N: n, K: k, LDA: k, TransA: transA, LDB: n, TransB: transB, LDC: n, BF16: precision == exec.BF16}
	if transA {
		g.LDA = m
	}
	if transB {
		g.LDB = k
	}
	var rounds []int
	if g.BF16 {
		if rounds = []int{a}; !transB {
			rounds = append(rounds, b)
		}
	}
	return &exec.Kernel{FLOPs: flops(m, n, k), Adds: []int{0}, Packing: packing(p, b, g), Rounds: rounds, Run: func(args *exec.Args) error {
		g := g
		g.A, g.B, g.C, g.Accumulate, g.Packed = args.In[a], args.In[b], args.Out[0], args.Add[0], args.Packed
		g.A16, g.B16 = words(args.In16, a), words(args.In16, b)
		if bias < len(args.In) {
			g.Bias = args.In[bias]
		}
		for _, e := range then {
			e.bind(&g.Epilogue, args)
		}
		kernel.Gemm(p, g)
		return nil
	}}
}

// packing is how B of a product, operand b, is packed. Products of few rows read
// it in place.
func packing(p *kernel.Pool, b int, g kernel.GemmArgs) *exec.Packing {
	if g.M < minPackedRows {
		return nil
	}
	type layout struct {
		n, k           int
		transposed, bf bool
	}
	return &exec.Packing{
		Operand: b, Layout: layout{g.N, g.K, g.TransB, g.BF16}, Size: kernel.PackedFloats(g.N, g.K),
		Pack: func(dst, src []float32) {
			g := g
			g.B = src
			kernel.PackB(p, dst, g)
		},
	}
}

// minPackedRows is the number of rows from which a packed B is faster.
const minPackedRows = 32

// words is value i where it is stored in bf16, else nil.
func words(x [][]uint16, i int) []uint16 {
	if i < len(x) {
		return x[i]
	}
	return nil
}

const noBias = 1 << 10 // more than any operation has operands

func flops(sizes ...int) int64 {
	n := int64(2)
	for _, s := range sizes {
		n *= int64(s)
	}
	return n
}

// linear is y [m, n] = x [m, k] W + b.
func linear(p *kernel.Pool, s graph.Linear, c exec.Call) (*exec.Kernel, error) {
	m, n, k := s.Sizes(c.In[0], c.In[1])
	return product(p, c.Precision, 0, 1, 2, m, n, k, false, s.Transposed), nil
}

// linearInputGrad is dx [m, k] = dy [m, n] W^T.
func linearInputGrad(p *kernel.Pool, s graph.LinearInputGrad, c exec.Call) (*exec.Kernel, error) {
	m, n, k := graph.Linear(s).Sizes(c.Out[0], c.In[1])
	return product(p, c.Precision, 0, 1, noBias, m, k, n, false, !s.Transposed), nil
}

// linearWeightGrad is dW [k, n] = x^T dy, or its transpose [n, k] = dy^T x.
func linearWeightGrad(p *kernel.Pool, s graph.LinearWeightGrad, c exec.Call) (*exec.Kernel, error) {
	m, n, k := graph.Linear(s).Sizes(c.In[0], c.Out[0])
	if s.Transposed {
		return product(p, c.Precision, 1, 0, noBias, n, k, m, true, false), nil
	}
	return product(p, c.Precision, 0, 1, noBias, k, n, m, true, false), nil
}

// biasGrad sums the rows of dy.
func biasGrad(p *kernel.Pool, _ graph.BiasGrad, c exec.Call) (*exec.Kernel, error) {
	cols := c.Out[0].Size()
	rows := c.In[0].Size() / cols
	return &exec.Kernel{Adds: []int{0}, Run: func(a *exec.Args) error {
		kernel.ColumnSum(p, a.Out[0], a.In[0], rows, cols, cols, a.Add[0])
		return nil
	}}, nil
}

// batchedFLOPs is the size of a product from which a stack of them is done one
// by one, each by all threads on packed operands.
const batchedFLOPs = 1 << 23

func matMul(p *kernel.Pool, s graph.MatMul, c exec.Call) (*exec.Kernel, error) {
	count, m, n, k := s.Sizes(c.In[0], c.In[1])
	one := product(p, exec.FP32, 0, 1, noBias, m, n, k, s.TransA, s.TransB)
	if count == 1 {
		return one, nil
	}
	g := kernel.BatchedGemmArgs{
		GemmArgs: kernel.GemmArgs{M: m, N: n, K: k, LDA: k, TransA: s.TransA, LDB: n, TransB: s.TransB, LDC: n},
		Batch:    count, StrideA: m * k, StrideB: k * n, StrideC: m * n,
	}
	if s.TransA {
		g.LDA = m
	}
	if s.TransB {
		g.LDB = k
	}
	large := one.FLOPs >= batchedFLOPs
	return &exec.Kernel{FLOPs: one.FLOPs * int64(count), Adds: []int{0}, Run: func(args *exec.Args) error {
		g := g
		g.A, g.B, g.C, g.Accumulate = args.In[0], args.In[1], args.Out[0], args.Add[0]
		if !large {
			kernel.GemmBatched(p, g)
			return nil
		}
		for i := range count {
			one := g.GemmArgs
			one.A, one.B, one.C = g.A[i*g.StrideA:], g.B[i*g.StrideB:], g.C[i*g.StrideC:]
			kernel.Gemm(p, one)
		}
		return nil
	}}, nil
}
