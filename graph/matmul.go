package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
)

// MatMul multiplies stacks of matrices: a [..., M, K] by b [..., K, N] to
// [..., M, N], the leading dimensions being equal. With TransA, a is
// [..., K, M]; with TransB, b is [..., N, K].
type MatMul struct {
	TransA, TransB bool
}

// Kind is "matmul".
func (MatMul) Kind() string { return "matmul" }

// Infer checks that the stacks and the inner sizes agree.
func (s MatMul) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 2, 2); err != nil {
		return Type{}, nil, err
	}
	if err := floats(in...); err != nil {
		return Type{}, nil, err
	}
	a, b := in[0], in[1]
	if a.Dims() < 2 || a.Dims() != b.Dims() {
		return Type{}, nil, fmt.Errorf("needs two stacks of matrices, has %v and %v", a, b)
	}
	stack := a.Shape[:a.Dims()-2]
	if !sameShape(stack, b.Shape[:b.Dims()-2]) {
		return Type{}, nil, fmt.Errorf("stacks differ: %v and %v", a, b)
	}
	_, m, n, k := s.Sizes(a, b)
	if inner := b.Size() / max(1, a.Rows(2)*n); inner != k {
		return Type{}, nil, fmt.Errorf("inner sizes differ: %d and %d", k, inner)
	}
	return a.like(append(append([]int{}, stack...), m, n)...), nil, nil
}

// Sizes returns the number of matrices and the product's sizes.
func (s MatMul) Sizes(a, b Type) (count, m, n, k int) {
	d := a.Dims()
	m, k, n = a.Shape[d-2], a.Shape[d-1], b.Shape[d-1]
	if s.TransA {
		m, k = k, m
	}
	if s.TransB {
		n = b.Shape[d-2]
	}
	return a.Rows(2), m, n, k
}

// Eval multiplies matrix by matrix.
func (s MatMul) Eval(e *Eval) error {
	a, b := e.In[0], e.In[1]
	count, m, n, k := s.Sizes(a.Type, b.Type)
	for i := range count {
		matmul(e.Out.Data[i*m*n:(i+1)*m*n], a.Data[i*m*k:], b.Data[i*k*n:], m, n, k, s.TransA, s.TransB)
	}
	return nil
}

// Wrt is true for both operands.
func (MatMul) Wrt(int) []bool { return []bool{true, true} }

// Grad gives the two products that are the gradients.
func (s MatMul) Grad(g *Gradient) []*G.Node {
	a, b := g.In[0], g.In[1]
	var da, db *G.Node
	if s.TransA {
		da = g.Apply(MatMul{TransA: s.TransB, TransB: true}, b, g.Dy)
	} else {
		da = g.Apply(MatMul{TransB: !s.TransB}, g.Dy, b)
	}
	if s.TransB {
		db = g.Apply(MatMul{TransA: true, TransB: s.TransA}, g.Dy, a)
	} else {
		db = g.Apply(MatMul{TransA: !s.TransA}, a, g.Dy)
	}
	return []*G.Node{da, db}
}
