package parallel

import "github.com/galvani-ml/galvani/graph"

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
