package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
)

// OpError says which operation of which layer could not be built.
type OpError struct {
	Tag  Tag
	Kind string
	In   []Type
	Err  error
}

// Error gives the layer, the operation, the fault and the operands.
func (e *OpError) Error() string {
	return fmt.Sprintf("%v: %s: %v (operands %v)", e.Tag, e.Kind, e.Err, e.In)
}

// Unwrap returns the fault.
func (e *OpError) Unwrap() error { return e.Err }

// Apply adds a node for s over the operands in. Operands that do not fit give
// an *OpError.
func Apply(s Spec, tag Tag, in ...*G.Node) (*G.Node, error) {
	types := make([]Type, len(in))
	for i, n := range in {
		types[i] = TypeOf(n)
	}
	op, err := newOp(s, tag, types)
	if err != nil {
		return nil, &OpError{Tag: tag, Kind: s.Kind(), In: types, Err: err}
	}
	n, err := G.ApplyOp(op, in...)
	if err != nil {
		return nil, &OpError{Tag: tag, Kind: s.Kind(), In: types, Err: err}
	}
	return n, nil
}

// SideOutput is the Spec of a side output. It costs nothing: the compiler
// resolves it to the buffer its operand's operation wrote.
type SideOutput struct {
	K  int // which side output
	of *Op
}

// Side returns a node for side output k of n.
func Side(n *G.Node, k int) (*G.Node, error) {
	op := OpOf(n)
	if op == nil || k >= len(op.side) {
		return nil, fmt.Errorf("graph: node %v has no side output %d", n, k)
	}
	return Apply(SideOutput{K: k, of: op}, op.Tag, n)
}

// Kind is "side".
func (SideOutput) Kind() string { return "side" }

// Infer gives the type that the operand's operation declared.
func (s SideOutput) Infer([]Type) (Type, []Type, error) { return s.of.side[s.K], nil, nil }

// Eval copies the value saved by the operand's last evaluation.
func (s SideOutput) Eval(e *Eval) error {
	copy(e.Out.Data, s.of.saved[s.K].Data)
	return nil
}
