package exec

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// steps are the instructions of a whole step, in order.
func (p *Program) steps() []*step {
	return slices.Concat(p.prologue, p.forward, p.backward, p.epilogue)
}

// ParamsChanged says that a caller wrote the values of parameters since the last
// forward pass, or those of the machine that lends them. All ranks call it, or
// none. What the machine keeps of the parameters for a whole step is then made
// anew by the next forward pass; [New] and [Machine.Update] need no such call.
func (m *Machine) ParamsChanged() { m.owner.changes++ }

// prepare runs the prologue if the parameters changed since it last ran.
func (m *Machine) prepare(ctx context.Context, mb MicroBatch) error {
	now := m.owner.changes
	if m.prepared == now {
		return nil
	}
	if err := m.run(ctx, m.prologue, mb, true); err != nil {
		return err
	}
	for _, pack := range m.repack {
		pack()
	}
	m.prepared = now
	return nil
}

// addPrologue lowers the forward operations that run once a step. order then
// leaves them out.
func (c *compiler) addPrologue(order *orderer, roots []*G.Node) error {
	var once []*G.Node
	in := map[*G.Node]bool{}
	for _, n := range graph.Order(roots...) {
		op := graph.OpOf(n)
		if free(n) || op == nil || op.Tag.Once == graph.OnceNever || op.Tag.Pass == graph.Backward {
			continue
		}
		for _, child := range graph.Children(n) {
			if r := refOf(child).node; !in[r] && !c.isParam(r) {
				return &CompileError{Tag: op.Tag, Name: op.Spec.Kind(), Err: fmt.Errorf("it shall run once a step but depends on %v, which is not made of parameters alone", r)}
			}
		}
		in[n], order.seen[n] = true, true
		once = append(once, n)
	}
	c.pass = &c.prologue
	if err := c.lowerOnce(once); err != nil {
		return err
	}
	for _, n := range once {
		for k, v := range c.results[n] {
			if r := (ref{n, k}); v != nil && c.outlives(r, in) {
				v.buf = c.buffer(v.tag, v.typ.Size())
				v.buf.region, v.buf.pinned = regionOnce, true
			}
		}
	}
	return nil
}

func (c *compiler) isParam(n *G.Node) bool {
	return slices.ContainsFunc(c.shards, func(s *shard) bool { return s.Node == n })
}

// outlives reports whether anything but the operations in a set reads r.
func (c *compiler) outlives(r ref, in map[*G.Node]bool) bool {
	inside := 0
	for _, user := range c.users[r] {
		if in[user] {
			inside++
		}
	}
	return c.uses[r] > inside
}

// findLate finds the operations of the epilogue: gradients that run once a step,
// and Gorgonia's sums of such.
func (c *compiler) findLate(roots []*G.Node) error {
	for _, n := range graph.Order(roots...) {
		if free(n) || !isBackward(n) {
			continue
		}
		after := slices.ContainsFunc(graph.Children(n), func(child *G.Node) bool { return c.late[refOf(child).node] })
		op := graph.OpOf(n)
		switch {
		case op == nil:
			c.late[n] = after
		case op.Tag.Once == graph.OnceBoth:
			if !isLinear(op.Spec) {
				return &CompileError{Tag: op.Tag, Name: op.Spec.Kind(), Err: errors.New("it shall run once a step, on the sum of gradients, but is neither a collective nor a slice")}
			}
			c.late[n] = true
		case after:
			return &CompileError{Tag: op.Tag, Name: op.Spec.Kind(), Err: errors.New("it runs with every micro-batch but needs the result of an operation that runs once a step")}
		}
	}
	for _, n := range c.rewritten.SentGrads {
		if r := refOf(n).node; c.late[r] {
			return &CompileError{Name: fmt.Sprint(r.Op()), Err: errors.New("a gradient that is sent with every micro-batch cannot run once a step")}
		}
	}
	return nil
}

// isLinear reports whether s of a sum is the sum of s.
func isLinear(s graph.Spec) bool {
	switch s.(type) {
	case graph.AllReduce, graph.AllGather, graph.ReduceScatter, graph.AllToAll, graph.Slice:
		return true
	}
	return false
}

// termFinder finds the terms of gradients.
type termFinder struct {
	c           *compiler
	terms, late []*G.Node // of the backward pass; operations of the epilogue
	seen        map[*G.Node]bool
}

// add notes the terms of g, whose sum is n.
func (t *termFinder) add(g *gradient, n *G.Node) {
	r := refOf(n)
	if graph.IsSum(r.node) && t.c.uses[r] == 1 {
		for _, child := range graph.Children(r.node) {
			t.add(g, child)
		}
		return
	}
	t.c.sums[r] = append(t.c.sums[r], g)
	if t.c.late[r.node] {
		t.visit(r.node)
	} else {
		t.terms = append(t.terms, n)
	}
}

// visit lists an operation of the epilogue after those that it needs. What it
// needs of the backward pass is summed over the micro-batches.
func (t *termFinder) visit(n *G.Node) {
	if t.seen[n] {
		return
	}
	t.seen[n] = true
	c := t.c
	for _, child := range graph.Children(n) {
		r := refOf(child)
		switch {
		case c.late[r.node]:
			t.visit(r.node)
		case c.summed[r] == nil:
			tag, _ := graph.TagOf(n)
			g := &gradient{value: c.pinned(regionSums, graph.TypeOf(child), tag.Name, tag.Layer)}
			c.summed[r] = g
			t.add(g, child)
		}
	}
	t.late = append(t.late, n)
}

// addEpilogue lowers the operations of the epilogue.
func (c *compiler) addEpilogue(late []*G.Node) error {
	c.pass = &c.epilogue
	return c.lowerOnce(late)
}

// lowerOnce lowers operations that run once a step, a bucket's worth after the
// other, and of each what can run together as one.
func (c *compiler) lowerOnce(nodes []*G.Node) error {
	c.pending = nil
	for len(nodes) > 0 {
		n := chunk(nodes)
		if err := c.lowerJoined(inOrder(slices.Clone(nodes[:n]))); err != nil {
			return err
		}
		nodes = nodes[n:]
	}
	return nil
}

// chunk is how many of nodes make about a bucket of each depth.
func chunk(nodes []*G.Node) int {
	depth := map[*G.Node]int{}
	size, deepest := 0, 0
	for i, n := range nodes {
		if size >= bucketSize*(deepest+1) {
			return i
		}
		for _, child := range graph.Children(n) {
			if d, ok := depth[refOf(child).node]; ok {
				depth[n] = max(depth[n], d+1)
			}
		}
		depth[n] += 0
		deepest = max(deepest, depth[n])
		size += max(graph.TypeOf(n).Size(), graph.TypeOf(graph.Children(n)[0]).Size())
	}
	return len(nodes)
}
