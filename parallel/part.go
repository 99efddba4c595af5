package parallel

import (
	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// Part is what one rank does of a plan.
type Part struct {
	Rank  int
	Mesh  Mesh
	Coord []int // the rank's coordinates, one an axis of Mesh
	// Stage is the local graph, not yet differentiated.
	Stage *graph.Stage
	// Groups holds the ranks of each group this rank belongs to, in order: of
	// each axis by its name, of World, and of "tied.N" for the N-th parameter
	// that several stages hold, and of "ring.A.B" for a ring over the axes A and
	// B. Shard.SumOver and graph.Axis name them.
	Groups map[string][]int
	// Rows says which sequences the rank's inputs hold.
	Rows Rows
	// Schedule is what to do in a step, and Slots how many micro-batches are in
	// flight at most.
	Schedule []Action
	Slots    int
	// LossOver names the axes over which Stage.Loss is a part of the sum. The
	// loss of a step is the sum over these and over the micro-batches.
	LossOver []string
	// Counted holds the shards that this rank contributes to a norm over all
	// gradients, and to a checkpoint: over all ranks, every element of every
	// parameter is counted once.
	Counted map[*graph.Shard]bool

	layers     []string // names of the model's layers
	checkpoint []bool   // of each layer, whether it is computed again
}

// Differentiate adds the backward pass to the stage. Layers that the plan
// checkpoints, and parameters gathered with every micro-batch (ZeRO-3), are
// computed or gathered again for it rather than kept.
func (p *Part) Differentiate() error {
	if err := p.Stage.Differentiate(); err != nil {
		return err
	}
	checkpointed := p.Stage.Checkpointed(p.checkpoint)
	return p.Stage.Rematerialize(func(n *G.Node) bool {
		return checkpointed(n) || graph.ParameterGather(n)
	})
}

// PipelineStage returns the rank's pipeline stage.
func (p *Part) PipelineStage() int { return p.Coord[p.Mesh.Index(AxisPP)] }

// LayerName returns the name of a layer of the model, as "h.3".
func (p *Part) LayerName(layer int) string { return p.layers[layer] }

// Peer returns the rank that this one exchanges with on another pipeline
// stage: the one that differs in its stage only.
func (p *Part) Peer(stage int) int { return p.Groups[AxisPP][stage] }

// Rows says which rows of a batch a rank takes. Every micro-batch covers
// Mesh rows of the batch, and the rank takes Count of those, from First.
type Rows struct {
	Mesh, First, Count int
}

// Start returns the first row of a micro-batch of all ranks, counted in the
// batch: word 3 of graph.InputRNG.
func (r Rows) Start(micro int) int { return micro * r.Mesh }

// Of returns the first row of a micro-batch that the rank takes, counted in the
// batch, and the number of rows.
func (r Rows) Of(micro int) (first, count int) { return r.Start(micro) + r.First, r.Count }
