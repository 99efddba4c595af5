package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
)

// AddBias adds b to the last dimensions of x: x [..., N], b [N], where N may be
// several dimensions. Linear adds its own bias; AddBias stands on its own where
// the product must be summed over ranks before the bias is added once.
type AddBias struct{}

// Kind is "add_bias".
func (AddBias) Kind() string { return "add_bias" }

// Infer checks that x ends in b's dimensions.
func (AddBias) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 2, 2); err != nil {
		return Type{}, nil, err
	}
	if err := floats(in...); err != nil {
		return Type{}, nil, err
	}
	x, b := in[0], in[1]
	if b.Dims() == 0 || b.Dims() > x.Dims() {
		return Type{}, nil, fmt.Errorf("cannot add a bias %v to %v", b, x)
	}
	return x, nil, shaped("bias", b, x.Shape[x.Dims()-b.Dims():]...)
}

// Eval adds b to each row.
func (AddBias) Eval(e *Eval) error {
	b := e.In[1].Data
	for i, x := range e.In[0].Data {
		e.Out.Data[i] = x + b[i%len(b)]
	}
	return nil
}

// Wrt is true for both operands.
func (AddBias) Wrt(int) []bool { return []bool{true, true} }

// Grad passes dy on, and sums it over the rows for b.
func (AddBias) Grad(g *Gradient) []*G.Node {
	return []*G.Node{g.Dy, g.Apply(BiasGrad{Dims: g.In[1].Dims()}, g.Dy)}
}
