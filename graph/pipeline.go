package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Send gives a tensor to another pipeline stage and Recv takes one from it.
// They carry no data between nodes of one graph but a token, a scalar that
// makes them differentiable: the gradient of Send with respect to its tensor
// is a Recv from the same stage, that of Recv with respect to its token a
// Send. So the backward traffic of a pipeline is the derivative of its forward
// traffic.
type Send struct {
	Peer int // the other stage
	Edge int // number of the tensor among those between the two stages
}

// Recv is the mirror of Send; its operand is the token.
type Recv struct {
	Peer  int
	Edge  int
	Shape tensor.Shape
}

// Kind is "send".
func (Send) Kind() string { return "send" }

// Kind is "recv".
func (Recv) Kind() string { return "recv" }

// Infer gives the token, a scalar.
func (Send) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 1, 1); err != nil {
		return Type{}, nil, err
	}
	return in[0].like(), nil, floats(in...)
}

// Infer gives Shape, with the token's element type.
func (s Recv) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 1, 1); err != nil {
		return Type{}, nil, err
	}
	if in[0].Dims() != 0 {
		return Type{}, nil, fmt.Errorf("the token is %v, needs a scalar", in[0])
	}
	return in[0].like(s.Shape...), nil, nil
}

// Wrt is true.
func (Send) Wrt(int) []bool { return []bool{true} }

// Wrt is true.
func (Recv) Wrt(int) []bool { return []bool{true} }

// Grad receives the tensor's gradient.
func (s Send) Grad(g *Gradient) []*G.Node {
	return []*G.Node{g.Apply(Recv{s.Peer, s.Edge, g.In[0].Shape()}, g.Dy)}
}

// Grad sends the tensor's gradient.
func (s Recv) Grad(g *Gradient) []*G.Node {
	return []*G.Node{g.Apply(Send{s.Peer, s.Edge}, g.Dy)}
}

// Eval hands the tensor to the peer.
func (Send) Eval(e *Eval) error {
	_, err := exchange(e)
	return err
}

// Eval takes the peer's tensor, the one of the pair that is not the token.
func (Recv) Eval(e *Eval) error {
	all, err := exchange(e)
	for _, x := range all {
		if sameShape(x.Shape, e.Out.Shape) {
			copy(e.Out.Data, x.Data)
		}
	}
	return err
}
