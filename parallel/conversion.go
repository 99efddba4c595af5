package parallel

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/graph"
)

// ConversionError says that a tensor cannot be brought from one placement into
// another.
type ConversionError struct {
	Axis     string
	From, To Placement
	Reason   string
}

// Error names the axis and both placements.
func (e *ConversionError) Error() string {
	return fmt.Sprintf("no conversion from %v to %v on axis %s: %s", e.From, e.To, e.Axis, e.Reason)
}

// conversion returns the operations that bring a tensor from one placement on
// an axis into another. Each one's gradient brings the gradient from
// to.Gradient() into from.Gradient():
//
//	from       to         forward         backward
//	Partial    Replicate  all-reduce      identity
//	Partial    Shard      reduce-scatter  all-gather
//	Replicate  Copied     identity        all-reduce
//	Replicate  Shard      slice           all-gather
//	Shard      Replicate  all-gather      slice
//	Shard      Copied     all-gather      reduce-scatter
//	Shard(i)   Shard(j)   all-to-all      all-to-all
func conversion(from, to Placement, axis graph.Axis) ([]graph.Spec, error) {
	i, fromShard := from.Dim()
	j, toShard := to.Dim()
	switch {
	case from == to:
		return nil, nil
	case fromShard && toShard:
		return []graph.Spec{graph.AllToAll{Axis: axis, From: i, To: j}}, nil
	case fromShard && to != Partial:
		return []graph.Spec{graph.AllGather{Axis: axis, Dim: i, PartialGrad: to == Copied}}, nil
	case from == Partial && toShard:
		return []graph.Spec{graph.ReduceScatter{Axis: axis, Dim: j}}, nil
	case from == Partial && to == Replicate:
		return []graph.Spec{graph.AllReduce{Axis: axis}}, nil
	case from == Partial && to == Copied:
		return []graph.Spec{graph.AllReduce{Axis: axis}, graph.Copy{Axis: axis}}, nil
	case from == Replicate && toShard:
		return []graph.Spec{graph.Slice{Axis: axis, Dim: j}}, nil
	case from == Replicate && to == Copied:
		return []graph.Spec{graph.Copy{Axis: axis}}, nil
	}
	return nil, &ConversionError{axis.Name, from, to, "its gradient would have to be divided into parts of a sum"}
}

// step is a conversion on one axis of several.
type step struct {
	axis int
	to   Placement
}

// route orders the conversions from one layout to another; order lists the axes
// in the order they split a dimension that several of them shard. Parts are
// joined in the reverse of that order, and cut in it: parts that an inner axis
// has split further are joined first where an outer axis changes, and cut again
// after.
func route(from, to Layout, order []int) []step {
	now := slices.Clone(from)
	var steps []step
	move := func(i int, p Placement) {
		now[i] = p
		steps = append(steps, step{i, p})
	}
	for k, i := range slices.Backward(order) {
		_, fromShard := from[i].Dim()
		_, toShard := to[i].Dim()
		switch {
		case fromShard && !toShard:
			move(i, to[i])
		case fromShard && inside(from, to, order[:k], from[i]), fromShard && from[i] != to[i] && inside(from, to, order[:k], to[i]):
			move(i, Replicate)
		}
	}
	for _, i := range order {
		if now[i] != to[i] {
			move(i, to[i])
		}
	}
	return steps
}

// inside reports whether one of the outer axes begins or ceases to split what
// is placed at p.
func inside(from, to Layout, outer []int, p Placement) bool {
	return slices.ContainsFunc(outer, func(o int) bool { return (from[o] == p) != (to[o] == p) })
}
