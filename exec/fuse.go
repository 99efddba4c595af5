package exec

import (
	"errors"
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// ErrNotFused is what [Backend] returns for a [Fused] that it has no kernel
// for: the operations then stay apart.
var ErrNotFused = errors.New("exec: no kernel for the operations together")

// Fused is an operation followed by one that reads its result. Its operands are
// those of First, then the others of Then in their order. Its results are that
// of Then and, where the [Call] has two, that of First. In a chain of more than
// two operations First is itself a Fused.
type Fused struct {
	First, Then graph.Spec
	Operands    int // number of First's operands
	Operand     int // the operand of Then that is First's result
}

// Kind joins both kinds by a plus sign, as "linear+activation".
func (f Fused) Kind() string { return f.First.Kind() + "+" + f.Then.Kind() }

// Infer gives Then's type and, as a side output, First's.
func (f Fused) Infer(in []graph.Type) (graph.Type, []graph.Type, error) {
	if len(in) < f.Operands {
		return graph.Type{}, nil, fmt.Errorf("%d operands, want at least %d", len(in), f.Operands)
	}
	between, _, err := f.First.Infer(in[:f.Operands])
	if err != nil {
		return graph.Type{}, nil, err
	}
	out, _, err := f.Then.Infer(insert(in[f.Operands:], f.Operand, between))
	return out, []graph.Type{between}, err
}

// Eval does one after the other.
func (f Fused) Eval(e *graph.Eval) error {
	first := &graph.Eval{In: e.In[:f.Operands], Out: e.Side[0], Name: e.Name}
	if _, ok := f.First.(Fused); ok {
		first.Side = []graph.Operand{{Type: e.Side[0].Type, Data: make([]float64, e.Side[0].Size())}}
	}
	if err := f.First.Eval(first); err != nil {
		return err
	}
	return f.Then.Eval(&graph.Eval{In: insert(e.In[f.Operands:], f.Operand, e.Side[0]), Out: e.Out, Name: e.Name})
}

func insert[T any](x []T, at int, v T) []T { return slices.Insert(slices.Clone(x), at, v) }

// elementwise reports whether each element of s's result depends on that
// element of its operands alone.
func elementwise(s graph.Spec) bool {
	switch s := s.(type) {
	case graph.Activation, graph.ActivationGrad, graph.Add, graph.Dropout:
		return true
	case Fused:
		return elementwise(s.First) && elementwise(s.Then)
	}
	return false
}

// passOf is the pass that makes s.
func passOf(s graph.Spec) Pass {
	if elementwise(s) {
		return Elementwise
	}
	return Epilogue
}

// fuse adds one instruction for n and operations that read its result, one
// after the other, as far as the back end has one, and reports whether it did.
// It stands where n's would: what else the others read is there already.
func (c *compiler) fuse(n *G.Node, first Call) (bool, error) {
	chain, call := []*G.Node{n}, first
	var s *step
	for {
		user, next, longer, err := c.extend(chain[len(chain)-1], call)
		if err != nil {
			return false, err
		}
		if user == nil {
			break
		}
		chain, call, s = append(chain, user), next, longer
	}
	if s == nil {
		return false, nil
	}
	return true, c.addFused(s, chain, call)
}

// extend finds a user of n's result that can be fused with call, which ends
// with n, and the instruction of both. The user is nil if there is none.
func (c *compiler) extend(n *G.Node, call Call) (user *G.Node, longer Call, s *step, err error) {
	result := ref{n, 0}
	if len(call.Out) != 1 || c.sums[result] != nil {
		return nil, Call{}, nil, nil
	}
	for _, user := range c.users[result] {
		longer, ok := c.join(n, call, user)
		if !ok || !c.opts.does(passOf(longer.Spec)) {
			continue
		}
		s := &step{tag: longer.Tag}
		err := c.bind(s, longer)
		if errors.Is(err, ErrNotFused) {
			continue
		}
		if err != nil {
			return nil, Call{}, nil, &CompileError{Tag: longer.Tag, Name: longer.Spec.Kind(), Err: err}
		}
		return user, longer, s, nil
	}
	return nil, Call{}, nil, nil
}

// join describes n and a user of its result as one operation, unless something
// else than n's result is missing for that.
func (c *compiler) join(n *G.Node, first Call, user *G.Node) (Call, bool) {
	if !c.pending[user] || c.results[user] != nil || c.sums[ref{user, 0}] != nil {
		return Call{}, false
	}
	then, err := c.call(user)
	if err != nil || len(then.Out) != 1 {
		return Call{}, false
	}
	f := Fused{First: first.Spec, Then: then.Spec, Operands: len(first.In)}
	call := Call{Tag: first.Tag, In: slices.Clone(first.In), Out: then.Out, Precision: first.Precision}
	for i, operand := range graph.Children(user) {
		r := refOf(operand)
		switch {
		case r == (ref{n, 0}):
			f.Operand = i
		case !graph.IsLeaf(r.node) && c.results[r.node] == nil:
			return Call{}, false
		default:
			call.In = append(call.In, then.In[i])
		}
	}
	if len(call.In) != len(first.In)+len(then.In)-1 {
		return Call{}, false // reads the result twice
	}
	if c.uses[ref{n, 0}] > 1 {
		call.Out = append(slices.Clone(call.Out), first.Out[0])
	}
	call.Spec = f
	return call, true
}

// addFused adds s, the instruction of a chain of operations.
func (c *compiler) addFused(s *step, chain []*G.Node, call Call) error {
	c.layer = call.Tag.Layer
	for i, n := range chain {
		for _, operand := range graph.Children(n) {
			if i > 0 && refOf(operand) == (ref{chain[i-1], 0}) {
				continue
			}
			v, err := c.value(operand)
			if err != nil {
				return err
			}
			v.last = max(v.last, c.pos)
			s.in = append(s.in, v)
		}
		c.results[n] = []*value{nil}
	}
	for _, t := range call.Out {
		s.out = append(s.out, &value{typ: t, tag: call.Tag, made: c.pos, last: c.pos})
	}
	s.modes = make([]writeMode, len(s.out))
	for k, v := range s.out {
		c.results[chain[len(chain)-1-k]] = []*value{v}
	}
	c.add(s, call.Spec.Kind())
	return nil
}
