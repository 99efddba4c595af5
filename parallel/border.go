package parallel

import "github.com/galvani-ml/galvani/graph"

// BorderExchange is a collective that brings the activations at a border of two
// layers from the layout of the one into that of the other, or their gradients
// back.
type BorderExchange struct {
	Kind string // of the operation
	Pass graph.Pass
	// Ranks of a group, which are Stride apart among those of a stage.
	Ranks, Stride int
	// Parts tells the size of the exchange's tensor, after a gather and before
	// anything else: the activations of all ranks, divided by Parts.
	Parts int
}

// Border returns the exchanges between a layer of one strategy and the next one
// of another, on one stage, in their order. Strategies have equally many ranks.
// It fails where they have no common mesh.
func (f Facts) Border(layer int, from, to Strategy) ([]BorderExchange, error) {
	if from == to && f.isBlock(layer) && f.isBlock(layer+1) {
		return nil, nil
	}
	a, err := arrange([]Strategy{from, to})
	if err != nil {
		return nil, err
	}
	var now, want Layout
	for i := range a.axes {
		now = append(now, from.table(a.roles[i][0], f, layer).Activation())
		want = append(want, to.table(a.roles[i][1], f, layer+1).Activation())
	}
	var all []BorderExchange
	for _, s := range route(now, want, now.natural()) {
		group := BorderExchange{Ranks: a.axes[s.axis].Size, Stride: 1, Parts: 1}
		for _, inner := range a.axes[s.axis+1:] {
			group.Stride *= inner.Size
		}
		for i, p := range now {
			if _, sharded := p.Dim(); sharded && i != s.axis {
				group.Parts *= a.axes[i].Size
			}
		}
		all = append(all, group.convert(now[s.axis], s.to)...)
		now[s.axis] = s.to
	}
	return all, nil
}

// convert returns what a conversion between placements of activations and its
// mirror exchange.
func (e BorderExchange) convert(from, to Placement) []BorderExchange {
	_, fromShard := from.Dim()
	_, toShard := to.Dim()
	switch {
	case fromShard && toShard:
		e.Kind, e.Parts = graph.AllToAll{}.Kind(), e.Parts*e.Ranks
		back := e
		back.Pass = graph.Backward
		return []BorderExchange{e, back}
	case fromShard:
		e.Kind, e.Pass = graph.AllGather{}.Kind(), graph.Forward
	default:
		e.Kind, e.Pass = graph.AllGather{}.Kind(), graph.Backward
	}
	return []BorderExchange{e}
}
