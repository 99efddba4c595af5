package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
)

// Linear is y = x W + b. It contracts the last Contract dimensions of x with
// those of W; the other dimensions of W become the last of y. A head-split
// projection is so one matrix product whose head dimension can be sharded by
// name: x [B, T, C] by W [C, 3, H, D] gives [B, T, 3, H, D], and
// [B, T, H, D] by W [H, D, C] gives [B, T, C].
//
// Operands: x, W, and optionally b of the shape of W's other dimensions.
type Linear struct {
	Contract int // dimensions summed over, at least 1
	// Transposed says that W is stored with its contracted dimensions last,
	// as PyTorch's nn.Linear has it.
	Transposed bool
}

// Kind is "linear".
func (Linear) Kind() string { return "linear" }

// split gives the contracted and the other dimensions of a weight.
func (s Linear) split(w Type) (contracted, free []int) {
	if s.Transposed {
		cut := w.Dims() - s.Contract
		return w.Shape[cut:], w.Shape[:cut]
	}
	return w.Shape[:s.Contract], w.Shape[s.Contract:]
}

// Infer checks that x ends in W's contracted dimensions and b fits.
func (s Linear) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 2, 3); err != nil {
		return Type{}, nil, err
	}
	if err := floats(in...); err != nil {
		return Type{}, nil, err
	}
	x, w := in[0], in[1]
	if s.Contract < 1 || x.Dims() <= s.Contract || w.Dims() <= s.Contract {
		return Type{}, nil, fmt.Errorf("cannot contract %d dimensions of %v with %v", s.Contract, x, w)
	}
	k, free := s.split(w)
	lead := x.Shape[:x.Dims()-s.Contract]
	if tail := x.Shape[x.Dims()-s.Contract:]; !sameShape(tail, k) {
		return Type{}, nil, fmt.Errorf("x ends in %v, the weight takes %v", []int(tail), k)
	}
	if len(in) == 3 {
		if err := shaped("bias", in[2], free...); err != nil {
			return Type{}, nil, err
		}
	}
	return x.like(append(append([]int{}, lead...), free...)...), nil, nil
}

// Sizes returns the matrix product behind the operation, [M, K] by [K, N].
func (s Linear) Sizes(x, w Type) (m, n, k int) {
	k = x.Cols(s.Contract)
	return x.Rows(s.Contract), w.Size() / k, k
}

// Eval multiplies.
func (s Linear) Eval(e *Eval) error {
	x, w := e.In[0], e.In[1]
	m, n, k := s.Sizes(x.Type, w.Type)
	matmul(e.Out.Data, x.Data, w.Data, m, n, k, false, s.Transposed)
	if len(e.In) == 3 {
		for i := range e.Out.Data {
			e.Out.Data[i] += e.In[2].Data[i%n]
		}
	}
	return nil
}

// Wrt is true for all operands.
func (Linear) Wrt(n int) []bool { return []bool{true, true, true}[:n] }

// Grad gives dx = dy W^T, dW = x^T dy, db = sum of dy.
func (s Linear) Grad(g *Gradient) []*G.Node {
	grads := []*G.Node{
		g.Apply(LinearInputGrad(s), g.Dy, g.In[1]),
		g.Apply(LinearWeightGrad(s), g.In[0], g.Dy),
	}
	if len(g.In) == 3 {
		grads = append(grads, g.Apply(BiasGrad{Dims: g.In[2].Dims()}, g.Dy))
	}
	return grads
}

// LinearInputGrad is dx = dy W^T: operands dy, W.
type LinearInputGrad Linear

// Kind is "linear_input_grad".
func (LinearInputGrad) Kind() string { return "linear_input_grad" }

// Infer gives x's shape.
func (s LinearInputGrad) Infer(in []Type) (Type, []Type, error) {
	dy, w := in[0], in[1]
	k, free := Linear(s).split(w)
	lead := dy.Shape[:dy.Dims()-len(free)]
	return dy.like(append(append([]int{}, lead...), k...)...), nil, nil
}

// Eval multiplies.
func (s LinearInputGrad) Eval(e *Eval) error {
	dy, w := e.In[0], e.In[1]
	m, n, k := Linear(s).Sizes(e.Out.Type, w.Type)
	matmul(e.Out.Data, dy.Data, w.Data, m, k, n, false, !s.Transposed)
	return nil
}

// LinearWeightGrad is dW = x^T dy, stored as W is: operands x, dy.
type LinearWeightGrad Linear

// Kind is "linear_weight_grad".
func (LinearWeightGrad) Kind() string { return "linear_weight_grad" }

// Infer gives W's shape.
func (s LinearWeightGrad) Infer(in []Type) (Type, []Type, error) {
	x, dy := in[0], in[1]
	lead := x.Dims() - s.Contract
	k, free := x.Shape[lead:], dy.Shape[lead:]
	if s.Transposed {
		k, free = free, k
	}
	return x.like(append(append([]int{}, k...), free...)...), nil, nil
}

// Eval multiplies.
func (s LinearWeightGrad) Eval(e *Eval) error {
	x, dy := e.In[0], e.In[1]
	m, n, k := Linear(s).Sizes(x.Type, e.Out.Type)
	if s.Transposed {
		matmul(e.Out.Data, dy.Data, x.Data, n, k, m, true, false)
	} else {
		matmul(e.Out.Data, x.Data, dy.Data, k, n, m, true, false)
	}
	return nil
}

// BiasGrad sums dy over all but its last Dims dimensions.
type BiasGrad struct {
	Dims int
}

// Kind is "bias_grad".
func (BiasGrad) Kind() string { return "bias_grad" }

// Infer gives the bias's shape.
func (s BiasGrad) Infer(in []Type) (Type, []Type, error) {
	return in[0].like(in[0].Shape[in[0].Dims()-s.Dims:]...), nil, nil
}

// Eval sums.
func (BiasGrad) Eval(e *Eval) error {
	n := len(e.Out.Data)
	for i, v := range e.In[0].Data {
		e.Out.Data[i%n] += v
	}
	return nil
}

// matmul is c[m, n] = op(a) op(b), op(a) being [m, k] and op(b) [k, n].
func matmul(c, a, b []float64, m, n, k int, ta, tb bool) {
	at := func(i, l int) float64 { return a[i*k+l] }
	if ta {
		at = func(i, l int) float64 { return a[l*m+i] }
	}
	bt := func(l, j int) float64 { return b[l*n+j] }
	if tb {
		bt = func(l, j int) float64 { return b[j*k+l] }
	}
	for i := range m {
		for j := range n {
			var sum float64
			for l := range k {
				sum += at(i, l) * bt(l, j)
			}
			c[i*n+j] = sum
		}
	}
}
