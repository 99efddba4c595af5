package parallel

import "github.com/galvani-ml/galvani/graph"

// Table is a strategy on one axis of the mesh: the placements of the model's
// leaves. Those of everything else follow from the operations' rules. It must
// answer alike on all ranks.
type Table interface {
	// Param places a parameter.
	Param(p *graph.Param) Holding
	// Input places an input, Replicate or a shard.
	Input(in *graph.Input) Placement
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

// Replicated makes all ranks of an axis compute the same.
type Replicated struct{}

// Param is Replicate.
func (Replicated) Param(*graph.Param) Holding { return Hold(Replicate) }

// Input is Replicate.
func (Replicated) Input(*graph.Input) Placement { return Replicate }
