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
type ContextParallel struct{ SequenceParallel }

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
		if w.part.Groups[axis.Name] == nil {
			w.part.Groups[axis.Name] = w.part.Mesh.GroupOf(names, w.part.Rank)
		}
	}
	return graph.RingAttention{Attention: attention, Axis: axis}
}
