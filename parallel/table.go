package parallel

import "github.com/galvani-ml/galvani/graph"

// Table is a strategy on one axis of the mesh: the placements of a layer's
// leaves, and of the activations that enter it. Those of everything else follow
// from the operations' rules. It must answer alike on all ranks.
type Table interface {
	// Param places a parameter.
	Param(p *graph.Param) Holding
	// Input places an input, Replicate or a shard.
	Input(in *graph.Input) Placement
	// Activation places the activations at the layer's borders, Replicate or a
	// shard: what comes from a layer of another strategy is brought there.
	Activation() Placement
}

// Holding says how a parameter is held between steps, and how operations take
// it. Where the two differ a conversion comes first: a parameter held as a
// shard and used Copied is gathered before use, and its gradient is
// reduce-scattered, which is ZeRO-3.
type Holding struct {
	Held, Used Placement
}

// Hold places a parameter the same between steps and in use.
func Hold(p Placement) Holding { return Holding{p, p} }

// DataParallel splits the batch. Every rank holds all parameters, whose
// gradients are partial until they are summed once a step.
type DataParallel struct{}

// Param is Copied.
func (DataParallel) Param(*graph.Param) Holding { return Hold(Copied) }

// Input shards the rows of what has rows.
func (DataParallel) Input(in *graph.Input) Placement {
	if in.PerRow() {
		return Shard(0)
	}
	return Replicate
}

// Activation is sharded by rows.
func (DataParallel) Activation() Placement { return Shard(0) }

// TensorParallel splits what [graph.Param.Split] says: column-parallel
// projections into heads and the inner width, row-parallel ones out of them,
// and the vocabulary. Shoeybi et al.: Megatron-LM (2019), section 3.
type TensorParallel struct {
	// Ways is how many ranks split a parameter, over all axes that do: one that
	// does not divide by it is left whole. 0 leaves none whole.
	Ways int
	// Sequence splits the sequence between the projections: Korthikanti et al.:
	// Reducing Activation Recomputation (2022), section 4.2.2.
	Sequence bool
}

// Param is a shard of what is split. Other parameters are replicated, or take
// part in a split sequence.
func (t TensorParallel) Param(p *graph.Param) Holding {
	if d, ok := p.Split(); ok && p.Shape[d]%max(1, t.Ways) == 0 {
		return Hold(Shard(d))
	}
	if t.Sequence {
		return Hold(Copied)
	}
	return Hold(Replicate)
}

// Input is replicated, or split along the sequence.
func (t TensorParallel) Input(in *graph.Input) Placement {
	if t.Sequence {
		return SequenceParallel{}.Input(in)
	}
	return Replicate
}

// Activation is replicated, or split along the sequence.
func (t TensorParallel) Activation() Placement {
	if t.Sequence {
		return Shard(1)
	}
	return Replicate
}

// SequenceParallel splits the sequence everywhere but in attention, which
// shares heads. Jacobs et al.: DeepSpeed Ulysses (2023).
type SequenceParallel struct{}

// Param is Copied.
func (SequenceParallel) Param(*graph.Param) Holding { return Hold(Copied) }

// Input shards the tokens of a sequence. Attention needs the whole mask.
func (SequenceParallel) Input(in *graph.Input) Placement {
	if in.PerRow() && in.Name != graph.InputMask {
		return Shard(1)
	}
	return Replicate
}

// Activation is sharded by tokens.
func (SequenceParallel) Activation() Placement { return Shard(1) }

// Sharded is a strategy whose ranks would hold the same parameters, and hold
// parts of them instead: ZeRO of Rajbhandari et al. (2020), stage 3.
type Sharded struct {
	Table
	// Ways is how many ranks share a parameter, over all axes that do.
	Ways int
	// Whole says which dimension of a parameter another axis splits, so that
	// this one takes another if it can.
	Whole func(p *graph.Param) (dim, ways int)
}

// Param shards the first dimension that divides. A parameter without one is
// held as the strategy has it.
func (s Sharded) Param(p *graph.Param) Holding {
	h := s.Table.Param(p)
	if h.Held != Copied {
		return h
	}
	taken, ways := s.Whole(p)
	for d, size := range p.Shape {
		if d != taken && size%s.Ways == 0 {
			return Holding{Shard(d), Copied}
		}
	}
	if taken >= 0 && p.Shape[taken]%(ways*s.Ways) == 0 {
		return Holding{Shard(taken), Copied}
	}
	return h
}

// RingAttention is that of the strategy.
func (s Sharded) RingAttention() bool {
	t, ok := s.Table.(RingTable)
	return ok && t.RingAttention()
}

// Replicated makes all ranks of an axis compute the same.
type Replicated struct{}

// Param is Replicate.
func (Replicated) Param(*graph.Param) Holding { return Hold(Replicate) }

// Input is Replicate.
func (Replicated) Input(*graph.Input) Placement { return Replicate }

// Activation is Replicate.
func (Replicated) Activation() Placement { return Replicate }
