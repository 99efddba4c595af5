package exec

import (
	"cmp"
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// An orderer lists operations, operands before users. Leaves and nodes that
// cost nothing are left out.
type orderer struct {
	seen  map[*G.Node]bool
	order []*G.Node
	depth map[*G.Node]int
}

func newOrderer() *orderer {
	return &orderer{seen: map[*G.Node]bool{}, depth: map[*G.Node]int{}}
}

// take returns what was listed since the last call.
func (o *orderer) take() []*G.Node {
	order := o.order
	o.order = nil
	return order
}

// visit lists n after what it needs. A backward operation's incoming gradient
// comes first, so that what is computed again for it comes as late as it can.
func (o *orderer) visit(n *G.Node) {
	n = refOf(n).node
	if graph.IsLeaf(n) || o.seen[n] {
		return
	}
	o.seen[n] = true
	children := graph.Children(n)
	if isBackward(n) {
		for _, c := range children {
			if isBackward(refOf(c).node) {
				o.visit(c)
			}
		}
	}
	for _, c := range children {
		o.visit(c)
	}
	o.order = append(o.order, n)
}

// backward lists what roots need, those first that the backward pass reaches
// first: a weight's gradient so runs as soon as it can.
func (o *orderer) backward(roots []*G.Node) {
	roots = slices.Clone(roots)
	slices.SortStableFunc(roots, func(a, b *G.Node) int {
		return cmp.Compare(o.distance(a), o.distance(b))
	})
	for _, r := range roots {
		o.visit(r)
	}
}

// distance is the number of backward operations on the longest way from the
// loss to n.
func (o *orderer) distance(n *G.Node) int {
	n = refOf(n).node
	if !isBackward(n) {
		return 0
	}
	if d, ok := o.depth[n]; ok {
		return d
	}
	var d int
	for _, c := range graph.Children(n) {
		d = max(d, o.distance(c))
	}
	o.depth[n] = d + 1
	return d + 1
}

// isBackward reports whether n is part of the derivative.
func isBackward(n *G.Node) bool {
	tag, ok := graph.TagOf(n)
	return ok && tag.Pass == graph.Backward || graph.IsSum(n)
}
