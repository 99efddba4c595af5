package exec

import (
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// recompute rewrites a differentiated stage so that its backward pass computes
// again what is cheap, and returns it; the stage given stays as it is, but for
// nodes that are added to its graph.
//
// Cheap are activations and norms whose operand is kept anyway, as it is for
// their own gradient: one pass over memory, and the whole result is saved. Where
// only a norm's statistics are read, which are small, they are kept.
func recompute(s *graph.Stage) (*graph.Stage, error) {
	r := *s
	r.Params, r.SentGrads = nil, slices.Clone(s.SentGrads)
	for _, p := range s.Params {
		shard := *p
		r.Params = append(r.Params, &shard)
	}
	kept := keptResults(s)
	return &r, r.Rematerialize(func(n *G.Node) bool { return kept[n] && cheap(n) && kept[refOf(graph.Children(n)[0]).node] })
}

// keptResults are the nodes whose value, side outputs aside, the backward pass
// reads.
func keptResults(s *graph.Stage) map[*G.Node]bool {
	_, backward := s.Roots()
	kept := map[*G.Node]bool{}
	for _, n := range graph.Order(backward...) {
		if tag, _ := graph.TagOf(n); free(n) || !isBackward(n) && !tag.Recompute {
			continue
		}
		for _, c := range graph.Children(n) {
			if r := refOf(c); r.k == 0 {
				kept[r.node] = true
			}
		}
	}
	return kept
}

func cheap(n *G.Node) bool {
	switch graph.OpOf(n).Spec.(type) {
	case graph.Activation, graph.LayerNorm, graph.RMSNorm:
		return true
	}
	return false
}
