package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
)

// Rematerialize rewrites the backward graph so that it reads forward results
// for which again is true from copies, computed anew in the backward pass,
// instead of from what the forward pass kept: activation checkpointing (Chen,
// Xu, Zhang, Guestrin: Training Deep Nets with Sublinear Memory Cost, 2016). A
// copy reads its operands likewise: from a copy of theirs where again is true
// of them, else from what is kept. Copies carry [Tag].Recompute.
//
// It is called after Differentiate, and may be called again, with another
// predicate; what has a copy already is then read from it. Backward operations that read a copy are built anew, so Grad of
// the Params and SentGrads change; what they replace stays in the graph,
// unused. Leaves are always kept, and so is what was received and what updates
// a state; nodes that compute nothing, side outputs and [Copy], go with their
// operand. A copy of a collective is a collective: again must give the same
// answer on all ranks.
func (s *Stage) Rematerialize(again func(n *G.Node) bool) error {
	r := &rematerializer{again: again, earlier: s.copies, instead: map[*G.Node]*G.Node{}, copies: map[*G.Node]*G.Node{}}
	for _, p := range s.Params {
		if p.Grad == nil {
			return fmt.Errorf("graph: rematerializing: %s has no gradient: differentiate the stage first", p.Param.Name)
		}
	}
	for _, p := range s.Params {
		p.Grad = r.read(p.Grad)
	}
	for i, n := range s.SentGrads {
		s.SentGrads[i] = r.read(n)
	}
	if r.err != nil {
		return fmt.Errorf("graph: rematerializing: %w", r.err)
	}
	s.copies = r.copies
	return nil
}

type rematerializer struct {
	again   func(n *G.Node) bool
	earlier map[*G.Node]*G.Node // copies of operations, made by earlier calls
	copies  map[*G.Node]*G.Node // and with those of this call
	instead map[*G.Node]*G.Node // what the backward pass reads instead of a node
	err     error
}

// read returns the node that the backward pass reads instead of n.
func (r *rematerializer) read(n *G.Node) *G.Node {
	if c, ok := r.instead[n]; ok {
		return c
	}
	c := n
	switch earlier := r.earlier[n]; {
	case IsLeaf(n):
	case earlier != nil:
		c = r.read(earlier)
		r.copies[n] = c
	case follows(n) || runsBackward(n):
		c = r.copy(n)
	case r.again(n) && repeatable(n):
		c = r.copy(n)
		r.copies[n] = c
	}
	r.instead[n] = c
	return c
}

// copy gives n its new operands. n itself stays if it has none, and nothing but
// its operands would ask for a copy.
func (r *rematerializer) copy(n *G.Node) *G.Node {
	in := Children(n)
	changed := !follows(n) && !runsBackward(n)
	for i, c := range in {
		in[i] = r.read(c)
		changed = changed || in[i] != c
	}
	if !changed || r.err != nil {
		return n
	}
	if IsSum(n) {
		return G.NewUniqueNode(G.WithType(n.Type()), G.WithOp(n.Op()), G.WithChildren(in), G.In(n.Graph()), G.WithShape(n.Shape()...))
	}
	c, err := Rebuild(n, in...)
	if err != nil {
		r.err = err
		return n
	}
	if op := OpOf(c); op.Tag.Pass == Forward {
		op.Tag.Recompute = true
	}
	return c
}

// follows reports whether n computes nothing.
func follows(n *G.Node) bool {
	op := OpOf(n)
	if op == nil {
		return false
	}
	switch op.Spec.(type) {
	case SideOutput, Copy, RingAttention:
		return true
	}
	return false
}

// runsBackward reports whether n is computed in the backward pass already.
func runsBackward(n *G.Node) bool {
	tag, _ := TagOf(n)
	return IsSum(n) || tag.Pass == Backward || tag.Recompute
}

// repeatable reports whether n may be computed twice. What runs once a step is
// kept for all of it.
func repeatable(n *G.Node) bool {
	op := OpOf(n)
	if op.Tag.Once != OnceNever {
		return false
	}
	switch op.Spec.(type) {
	case Send, Recv, Updater:
		return false
	}
	return true
}

// Checkpointed is a predicate for [Stage.Rematerialize]: it is true of the
// forward operations of the layers marked in layers, but for those whose result
// an operation of another layer reads. So of such a layer the activations that
// enter it are kept, and nothing else.
func (s *Stage) Checkpointed(layers []bool) func(n *G.Node) bool {
	forward, _ := s.Roots()
	crosses := map[*G.Node]bool{}
	for _, n := range Order(forward...) {
		tag, ok := TagOf(n)
		if !ok {
			continue
		}
		for _, c := range Children(n) {
			for follows(c) {
				c = Children(c)[0]
			}
			if of, ok := TagOf(c); ok && of.Layer != tag.Layer {
				crosses[c] = true
			}
		}
	}
	return func(n *G.Node) bool {
		tag, ok := TagOf(n)
		return ok && tag.Layer < len(layers) && layers[tag.Layer] && !crosses[n]
	}
}

// ParameterGather reports whether n brings a parameter into the layout in which
// it is used: a gather, or another conversion, of a leaf of real numbers or of
// such a conversion. It is a predicate for [Stage.Rematerialize]: where ranks
// hold parts of parameters (ZeRO-3), what they gathered for the forward pass
// they gather again for the backward pass, and keep neither.
func ParameterGather(n *G.Node) bool {
	op := OpOf(n)
	if op == nil {
		return false
	}
	switch op.Spec.(type) {
	case AllGather, AllToAll, Slice:
	default:
		return false
	}
	c := Children(n)[0]
	for follows(c) {
		c = Children(c)[0]
	}
	return IsLeaf(c) && TypeOf(c).IsFloat() && TypeOf(c).Dims() > 0 || ParameterGather(c)
}
