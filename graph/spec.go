package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Spec is the mathematics of one kind of operation. Its fields are the
// operation's attributes (an epsilon, whether attention is causal); sizes come
// from the operands, so the same Spec applies to a whole tensor and to a shard.
//
// The life of a Spec: Infer is called once, when the node is made, and rejects
// operands that do not fit. Eval may be called many times, concurrently only
// for different nodes.
type Spec interface {
	// Kind names the operation, as "layer_norm". Back ends find kernels and
	// the partitioner finds placement rules by it.
	Kind() string
	// Infer checks the operands' types and returns the type of the result and
	// of each side output.
	Infer(in []Type) (out Type, side []Type, err error)
	// Eval computes the result in float64, in the plainest way: the reference
	// that kernels are tested against.
	Eval(e *Eval) error
}

// Differentiable is a Spec with a gradient.
type Differentiable interface {
	Spec
	// Wrt says for each of n operands whether the result has a gradient with
	// respect to it.
	Wrt(n int) []bool
	// Grad returns the gradient with respect to each operand, nil where Wrt is
	// false.
	Grad(g *Gradient) []*G.Node
}

// Eval carries the operands and results of one reference evaluation. Integer
// operands appear as float64 too.
type Eval struct {
	In   []Operand
	Out  Operand
	Side []Operand
	// Peers is the group a collective runs in, nil for all other operations.
	Peers Peers
	// Name identifies the node, for errors and for matching collectives.
	Name string
}

// Operand is a tensor of a reference evaluation, row-major.
type Operand struct {
	Type
	Data []float64
}

// Gradient is what a Differentiable needs to build its backward graph. Its
// methods remember the first error and then return nil nodes, so that a
// gradient reads like its formula.
type Gradient struct {
	In  []*G.Node // operands of the forward node
	Out *G.Node   // its result
	Dy  *G.Node   // gradient of the loss with respect to Out
	tag Tag
	err error
}

// Apply adds a backward operation.
func (g *Gradient) Apply(s Spec, in ...*G.Node) *G.Node {
	if g.err != nil {
		return nil
	}
	n, err := Apply(s, g.tag, in...)
	g.err = err
	return n
}

// Side returns side output k of n.
func (g *Gradient) Side(n *G.Node, k int) *G.Node {
	if g.err != nil {
		return nil
	}
	s, err := Side(n, k)
	g.err = err
	return s
}

// arity checks the number of operands.
func arity(in []Type, least, most int) error {
	switch {
	case len(in) < least:
		return fmt.Errorf("%d operands, needs %d", len(in), least)
	case len(in) > most:
		return fmt.Errorf("%d operands, takes at most %d", len(in), most)
	}
	return nil
}

// floats checks that all operands are real and of one element type.
func floats(in ...Type) error {
	for i, t := range in {
		if !t.IsFloat() {
			return fmt.Errorf("operand %d is %v, needs float32 or float64", i, t)
		}
		if t.Dtype != in[0].Dtype {
			return fmt.Errorf("operand %d is %v, operand 0 is %v: element types differ", i, t, in[0])
		}
	}
	return nil
}

// ints checks that t holds integers.
func ints(what string, t Type) error {
	if t.Dtype != tensor.Int32 {
		return fmt.Errorf("%s is %v, needs int32", what, t)
	}
	return nil
}

// shaped checks that t has the given shape.
func shaped(what string, t Type, want ...int) error {
	if !sameShape(t.Shape, want) {
		return fmt.Errorf("%s has shape %v, needs %v", what, []int(t.Shape), want)
	}
	return nil
}
