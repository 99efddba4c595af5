package parallel

import (
	"strings"

	"github.com/galvani-ml/galvani/graph"
)

// RingTable is a Table that may ask for ring attention on its axis: where
// queries, keys and values are shards of the sequence they stay so, and keys and
// values are passed around, see [graph.RingAttention]. Without it attention
// takes shards of the heads. It must answer alike on all ranks.
type RingTable interface {
	Table
	RingAttention() bool
}

// ContextParallel splits the sequence everywhere, for sequences whose
// activations do not fit one rank, and whose heads are too few to be split among
// the ranks. Every rank holds all parameters, whose gradients are partial until
// they are summed once a step. Attention goes around a ring. Ranks hold equal
// parts of the sequence in order, so of causal attention the last rank computes
// almost twice the mean.
type ContextParallel struct{}

// Param is Copied.
func (ContextParallel) Param(*graph.Param) Holding { return Hold(Copied) }

// Input shards the tokens of what has tokens, but for the mask: every rank
// needs that of all keys.
func (ContextParallel) Input(in *graph.Input) Placement {
	if in.PerRow() && in.Name != graph.InputMask {
		return Shard(1)
	}
	return Replicate
}

// RingAttention is true.
func (ContextParallel) RingAttention() bool { return true }

// ring returns what ranks run of an operation that goes around the ring of some
// axes: the operation itself if there are none. The ring of several axes is one
// group, of the ranks in the order of their tokens.
func (w *walker) ring(s graph.Spec, axes []int) graph.Spec {
	attention, ok := s.(graph.Attention)
	if !ok || len(axes) == 0 {
		return s
	}
	axis := w.axes[axes[0]]
	if len(axes) > 1 {
		names := []string{axis.Name}
		for _, a := range axes[1:] {
			inner := w.axes[a]
			names = append(names, inner.Name)
			axis.Size, axis.Rank = axis.Size*inner.Size, axis.Rank*inner.Size+inner.Rank
		}
		axis.Name = "ring." + strings.Join(names, ".")
		w.part.Groups[axis.Name] = w.part.Mesh.joined(names, w.part.Rank)
	}
	return graph.RingAttention{Attention: attention, Axis: axis}
}

// joined returns the ranks that differ from the given one in their coordinates
// on some axes, outermost first, only, in order of those.
func (m Mesh) joined(axes []string, rank int) []int {
	group := []int{rank}
	for _, axis := range axes {
		var next []int
		for _, r := range group {
			next = append(next, m.Group(axis, r)...)
		}
		group = next
	}
	return group
}
