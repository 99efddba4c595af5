package exec

import (
	"errors"
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// ErrNotFused is what [Backend] returns for a [Fused] that it has no kernel
// for: the two operations then stay apart.
var ErrNotFused = errors.New("exec: no kernel for the two operations together")

// Fused is an operation followed by one that reads its result. Its operands are
// those of First, then the others of Then in their order. Its results are that
// of Then and, where the [Call] has two, that of First.
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
	if err := f.First.Eval(&graph.Eval{In: e.In[:f.Operands], Out: e.Side[0], Name: e.Name}); err != nil {
		return err
	}
	return f.Then.Eval(&graph.Eval{In: insert(e.In[f.Operands:], f.Operand, e.Side[0]), Out: e.Out, Name: e.Name})
}

func insert[T any](x []T, at int, v T) []T { return slices.Insert(slices.Clone(x), at, v) }

// fuse adds one instruction for n and a user of its result, where the back end
// has one, and reports whether it did. It stands where n's would: what else
// the user reads is there already.
func (c *compiler) fuse(n *G.Node, first Call) (bool, error) {
	result := ref{n, 0}
	if !c.opts.does(Epilogue) || len(first.Out) != 1 || c.sums[result] != nil {
		return false, nil
	}
	for _, user := range c.users[result] {
		call, ok := c.join(n, first, user)
		if !ok {
			continue
		}
		s := &step{tag: call.Tag}
		err := c.bind(s, call)
		if errors.Is(err, ErrNotFused) {
			continue
		}
		if err != nil {
			return false, &CompileError{Tag: call.Tag, Name: call.Spec.Kind(), Err: err}
		}
		return true, c.addFused(s, n, user, call)
	}
	return false, nil
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

// addFused adds s, the instruction of n and its user.
func (c *compiler) addFused(s *step, n, user *G.Node, call Call) (err error) {
	c.layer = call.Tag.Layer
	if s.in, err = c.operands(n, call); err != nil {
		return err
	}
	for _, operand := range graph.Children(user) {
		if refOf(operand) == (ref{n, 0}) {
			continue
		}
		v, err := c.value(operand)
		if err != nil {
			return err
		}
		v.last = max(v.last, c.pos)
		s.in = append(s.in, v)
	}
	for _, t := range call.Out {
		s.out = append(s.out, &value{typ: t, tag: call.Tag, made: c.pos, last: c.pos})
	}
	s.modes = make([]writeMode, len(s.out))
	c.results[user], c.results[n] = s.out[:1], []*value{nil}
	if len(s.out) > 1 {
		c.results[n] = s.out[1:]
	}
	c.add(s, call.Spec.Kind())
	return nil
}
