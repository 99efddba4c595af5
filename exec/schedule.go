package exec

import (
	"cmp"
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// run is operations to be lowered in their order; those of a run with depths
// are joined where they can.
type run struct {
	nodes []*G.Node
	depth map[*G.Node]int
	// settle has what started before wait for its end when the run begins: its
	// operands take memory until then.
	settle bool
}

// scheduler orders the operations of a pass so that exchanges with other ranks
// have time to run beside the computation.
//
// The operations between exchanges that can move form segments, one a layer.
// Gathers of parameters, as those of ZeRO-3, start a segment before the one that
// reads them; reduce-scatters of gradients start at the end of the one that
// computes them; receives start with the pass.
type scheduler struct {
	c       *compiler
	up      map[*G.Node]bool // conversions of parameters
	down    map[*G.Node]bool // conversions of gradients of parameters
	segment map[*G.Node]int
}

// schedule orders a pass.
func (c *compiler) schedule(nodes []*G.Node) []run {
	if c.overlaps() {
		nodes = rotateEarly(nodes)
	}
	s := scheduler{c: c, up: map[*G.Node]bool{}, down: map[*G.Node]bool{}, segment: map[*G.Node]int{}}
	s.findUp(nodes)
	s.findDown(nodes)
	receives, anchors := s.split(nodes)
	if len(s.up)+len(s.down) == 0 {
		return []run{{nodes: slices.Concat(receives, anchors)}}
	}
	n := s.findSegments(nodes, anchors)
	ahead := 0
	if c.overlaps() {
		ahead = 1
	}
	var runs []run
	joined := func(in map[*G.Node]bool, segment int) {
		var members []*G.Node
		for _, node := range nodes {
			if in[node] && s.segment[node] == segment {
				members = append(members, node)
			}
		}
		runs = append(runs, inOrder(members))
	}
	for i := range ahead {
		joined(s.up, i)
	}
	runs = append(runs, run{nodes: receives})
	for i := range n {
		joined(s.up, i+ahead)
		var members []*G.Node
		for _, node := range anchors {
			if s.segment[node] == i {
				members = append(members, node)
			}
		}
		runs = append(runs, run{nodes: members})
		joined(s.down, i)
		runs[len(runs)-1].settle = true
	}
	return runs
}

// isConversion reports whether n brings its operand from one placement into
// another.
func isConversion(n *G.Node) bool {
	op := graph.OpOf(n)
	return op != nil && isLinear(op.Spec)
}

// isSlice reports whether n is a conversion that needs no other rank.
func isSlice(n *G.Node) bool {
	_, ok := graph.OpOf(n).Spec.(graph.Slice)
	return ok
}

// findUp finds conversions of nothing but parameters that something in the pass
// reads; slices only before others.
func (s *scheduler) findUp(nodes []*G.Node) {
	in := map[*G.Node]bool{}
	for _, n := range nodes {
		in[n] = true
		if !isConversion(n) || isBackward(n) {
			continue
		}
		if operand := refOf(graph.Children(n)[0]).node; s.up[operand] || s.c.isParam(operand) {
			s.up[n] = true
		}
	}
	for _, n := range slices.Backward(nodes) {
		users := s.c.users[ref{n, 0}]
		among := in
		if s.up[n] && isSlice(n) {
			among = s.up
		}
		if !slices.ContainsFunc(users, func(u *G.Node) bool { return among[u] }) {
			delete(s.up, n)
		}
	}
}

// findDown finds conversions that end in gradients of parameters; slices only
// after others.
func (s *scheduler) findDown(nodes []*G.Node) {
	for _, n := range slices.Backward(nodes) {
		r := ref{n, 0}
		if !isConversion(n) || !isBackward(n) || s.c.uses[r] != 1 {
			continue
		}
		users := s.c.users[r]
		if len(users) == 0 && s.c.sums[r] != nil || len(users) == 1 && s.down[users[0]] {
			s.down[n] = true
		}
	}
	for _, n := range nodes {
		if s.down[n] && isSlice(n) && !s.down[refOf(graph.Children(n)[0]).node] {
			delete(s.down, n)
		}
	}
}

// split parts the receives that need nothing before them, and what stays in
// its order.
func (s *scheduler) split(nodes []*G.Node) (receives, anchors []*G.Node) {
	for _, n := range nodes {
		if s.up[n] || s.down[n] {
			continue
		}
		if op := graph.OpOf(n); op != nil && s.c.overlaps() {
			if _, ok := op.Spec.(graph.Recv); ok && graph.IsLeaf(graph.Children(n)[0]) {
				receives = append(receives, n)
				continue
			}
		}
		anchors = append(anchors, n)
	}
	return receives, anchors
}

// findSegments numbers the segments, and returns how many there are: those of
// the anchors by their layers, that of a conversion by what reads it, or what it
// reads.
func (s *scheduler) findSegments(nodes, anchors []*G.Node) int {
	last, layer := 0, -1
	for i, n := range anchors {
		if op := graph.OpOf(n); op != nil && op.Tag.Layer != layer { // sums follow what they add
			if i > 0 {
				last++
			}
			layer = op.Tag.Layer
		}
		s.segment[n] = last
	}
	for _, n := range slices.Backward(nodes) {
		if !s.up[n] {
			continue
		}
		s.segment[n] = last
		for _, user := range s.c.users[ref{n, 0}] {
			if at, ok := s.segment[user]; ok {
				s.segment[n] = min(s.segment[n], at)
			}
		}
	}
	for _, n := range nodes {
		if s.down[n] {
			s.segment[n] = s.segment[refOf(graph.Children(n)[0]).node]
		}
	}
	return last + 1
}

// inOrder sorts operations, which come after those that they read, by their
// depth, and what can run together side by side.
func inOrder(nodes []*G.Node) run {
	r := run{nodes: nodes, depth: map[*G.Node]int{}}
	for _, n := range nodes {
		r.depth[n] = 0
		for _, child := range graph.Children(n) {
			if d, ok := r.depth[refOf(child).node]; ok {
				r.depth[n] = max(r.depth[n], d+1)
			}
		}
	}
	slices.SortStableFunc(r.nodes, func(a, b *G.Node) int {
		return cmp.Or(cmp.Compare(r.depth[a], r.depth[b]), cmp.Compare(together(a), together(b)))
	})
	return r
}
