package exec

import (
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// rotateEarly moves each rotation before what else reads its operand, so that
// the next block of keys and values comes while attention reads this one. It
// costs memory for one block more.
func rotateEarly(nodes []*G.Node) []*G.Node {
	nodes = slices.Clone(nodes)
	readers := map[ref]*G.Node{} // the first of each value
	for i, n := range nodes {
		op := graph.OpOf(n)
		if op == nil {
			continue
		}
		if _, ok := op.Spec.(graph.Rotate); ok {
			if first := readers[refOf(graph.Children(n)[0])]; first != nil {
				at := slices.Index(nodes[:i], first)
				nodes = slices.Insert(slices.Delete(nodes, i, i+1), at, n)
			}
			continue
		}
		for _, child := range graph.Children(n) {
			if r := refOf(child); readers[r] == nil {
				readers[r] = n
			}
		}
	}
	return nodes
}
