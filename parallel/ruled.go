package parallel

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/graph"
)

// Ruled is a graph.Spec that brings its own placement rule: how ranks that
// share its operands along one axis of the mesh compute it. Of operations from
// outside this module, all that run forward need one; gradients do not, since
// each rank differentiates its own graph.
type Ruled interface {
	graph.Spec
	// Rule decides on one axis, given the types of the whole operands and where
	// they lie on it. in is the placement that each operand needs: where that is
	// not the one it has, a conversion is inserted. out is that of the result
	// then. With the operands at in, Eval on each rank must give its part of the
	// result, and Grad its parts of their gradients, which lie at
	// [Placement.Gradient]. Rule must answer alike on all ranks.
	Rule(types []graph.Type, at []Placement) (in []Placement, out Placement)
}

// Elementwise is the rule of operations that compute each element of the result
// from the same element of every operand, all of one shape: shards stay shards.
// It needs not be linear, so parts of a sum are summed first.
func Elementwise(types []graph.Type, at []Placement) (in []Placement, out Placement) {
	if slices.Contains(at, Copied) {
		return Alike(types, at)
	}
	for _, p := range at {
		if _, sharded := p.Dim(); sharded {
			return slices.Repeat([]Placement{p}, len(at)), p
		}
	}
	return Alike(types, at)
}

// Rowwise returns the rule of operations that compute on the last dims
// dimensions of operand 0 and give each row's result in its place. The other
// operands are parameters that all rows share, as the gain of a norm is: where
// ranks have rows of their own, the gradients of these are partial.
func Rowwise(dims int) func(types []graph.Type, at []Placement) (in []Placement, out Placement) {
	return func(types []graph.Type, at []Placement) (in []Placement, out Placement) {
		o := operands{types: types, at: at}
		sig := alike(o)
		if _, ok := o.leading(dims); ok {
			sig = o.with(at[0], at[0], Copied)
		} else if len(at) > 1 && o.scattersRows(dims) {
			sig = o.with(Shard(1), Shard(1), Copied)
		}
		return sig.in, sig.out
	}
}

// Alike is the rule that fits every operation: all ranks get whole operands and
// compute the same.
func Alike(types []graph.Type, at []Placement) (in []Placement, out Placement) {
	sig := alike(operands{types: types, at: at})
	return sig.in, sig.out
}

// RuleError is an operation that has no placement rule.
type RuleError struct {
	Kind string
	Spec graph.Spec
}

// Error says what to implement.
func (e *RuleError) Error() string {
	return fmt.Sprintf("no placement rule for operations of kind %s: let %T implement parallel.Ruled, with parallel.Elementwise, parallel.Rowwise, parallel.Alike, or a rule of its own",
		e.Kind, e.Spec)
}

// ruleOf returns the rule of an operation: its own, or that of its kind.
func ruleOf(s graph.Spec) (rule, error) {
	if r, ok := s.(Ruled); ok {
		return func(o operands) signature {
			in, out := r.Rule(slices.Clone(o.types), slices.Clone(o.at))
			return signature{in: in, out: out}
		}, nil
	}
	if r, ok := rules[s.Kind()]; ok {
		return r, nil
	}
	return nil, &RuleError{Kind: s.Kind(), Spec: s}
}

// check finds answers that no operation can have.
func (s signature) check(operands int) error {
	if len(s.in) != operands {
		return fmt.Errorf("it places %d of %d operands", len(s.in), operands)
	}
	for _, p := range append(slices.Clone(s.in), s.out) {
		if p < Replicate {
			return fmt.Errorf("there is no placement %d", int(p))
		}
	}
	return nil
}
