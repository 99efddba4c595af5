package exec

import (
	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// ref names a value: result k of an operation (0 the result itself, then the
// side outputs), or a leaf.
type ref struct {
	node *G.Node
	k    int
}

// refOf resolves the nodes that cost nothing: side outputs, the forward copy to
// ranks that already have the value, and the end of a chain of attention's
// blocks.
func refOf(n *G.Node) ref {
	for {
		op := graph.OpOf(n)
		if op == nil {
			return ref{n, 0}
		}
		switch s := op.Spec.(type) {
		case graph.SideOutput:
			return ref{graph.Children(n)[0], 1 + s.K}
		case graph.Copy, graph.RingAttention:
			n = graph.Children(n)[0]
		default:
			return ref{n, 0}
		}
	}
}

// free reports whether n is one of those nodes.
func free(n *G.Node) bool { return refOf(n).node != n }

// countUses counts how often each value is read by what roots depend on, and
// by being a root. users are the operations that read it.
func countUses(roots []*G.Node) (uses map[ref]int, users map[ref][]*G.Node) {
	uses, users = map[ref]int{}, map[ref][]*G.Node{}
	for _, n := range graph.Order(roots...) {
		if free(n) {
			continue
		}
		for _, c := range graph.Children(n) {
			uses[refOf(c)]++
			users[refOf(c)] = append(users[refOf(c)], n)
		}
	}
	for _, r := range roots {
		uses[refOf(r)]++
	}
	return uses, users
}
