package probe

import "github.com/galvani-ml/galvani/exec/cpu/kernel"

// Product is a matrix product of a linear layer or of its gradients.
type Product struct {
	Kind string // as graph's operations: linear, linear_input_grad, linear_weight_grad
	Form string // N or T for each operand: whether it is transposed
	Args kernel.GemmArgs
}

// FLOPs counts multiplications and additions.
func (p *Product) FLOPs() int64 { return 2 * int64(p.Args.M) * int64(p.Args.N) * int64(p.Args.K) }

// Linear is a layer y = x w of x [rows, in] by w [in, out], and its gradients,
// which come first: after the layer has run, y is no longer random, and its
// elements no longer repeat.
func Linear(a *Arena, rows, in, out int) []Product {
	x, w, y := a.Floats(rows*in), a.Floats(in*out), a.Floats(rows*out)
	dx, dw := a.Floats(rows*in), a.Floats(in*out)
	return []Product{
		{"linear_input_grad", "NT", kernel.GemmArgs{M: rows, N: in, K: out, A: y, LDA: out, B: w, LDB: out, TransB: true, C: dx, LDC: in}},
		{"linear_weight_grad", "TN", kernel.GemmArgs{M: in, N: out, K: rows, A: x, LDA: in, TransA: true, B: y, LDB: out, C: dw, LDC: out}},
		{"linear", "NN", kernel.GemmArgs{M: rows, N: out, K: in, A: x, LDA: in, B: w, LDB: out, C: y, LDC: out}},
	}
}
