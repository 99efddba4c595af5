package parallel

import (
	"slices"

	"github.com/galvani-ml/galvani/graph"
)

// Plan says how a model is trained on many workers.
type Plan struct {
	// PP is the number of pipeline stages.
	PP int
	// Strategy is that of every layer, unless Layers says otherwise.
	Strategy
	// Layers holds the strategy of each layer of the model, embedding and head
	// included; empty where all have Strategy.
	Layers []Strategy
	// Micro is the number of micro-batches in a step.
	Micro    int
	Schedule Schedule
	// Stages holds the number of blocks of each stage. The embedding is on the
	// first stage and the head on the last besides. Empty for an even split.
	Stages []int
	// Provenance says where the plan comes from. The text form leaves it out.
	Provenance Provenance
}

// Strategy is how the ranks of a stage share a layer.
type Strategy struct {
	DP         int  `json:"dp"`         // ways the batch is split
	TP         int  `json:"tp"`         // ways the tensors are split
	ZeRO       int  `json:"zero"`       // what the dp ranks shard: 0 nothing, 1 optimizer state, 2 and gradients, 3 and parameters
	Checkpoint bool `json:"checkpoint"` // recompute activations in the backward pass
}

// Provenance says what a plan was made for, and by what.
type Provenance struct {
	Model   string `json:"model,omitempty"`
	Profile string `json:"profile,omitempty"` // hash of the profile that costs were taken from
	Planner string `json:"planner,omitempty"` // program and version
}

// Default returns the plan of one worker, which the text form's omitted keys
// stand for.
func Default() *Plan {
	return &Plan{PP: 1, Strategy: Strategy{DP: 1, TP: 1}, Micro: 1, Schedule: OneFOneB}
}

// Mesh returns the arrangement of the ranks: pp outermost, then dp, then tp.
func (p *Plan) Mesh() Mesh { return Mesh{{AxisPP, p.PP}, {AxisDP, p.DP}, {AxisTP, p.TP}} }

// Facts is what a plan must fit of a model.
type Facts struct {
	Blocks int // layers without the embedding and the head
}

// FactsOf returns the facts of a model.
func FactsOf(m *graph.Model) Facts { return Facts{Blocks: len(m.Layers) - 2} }

// BlocksPerStage returns the number of blocks of each stage: Stages, or an even
// split of the model's blocks, the first stages taking one more where it is
// not exact.
func (p *Plan) BlocksPerStage(f Facts) []int {
	if len(p.Stages) > 0 {
		return slices.Clone(p.Stages)
	}
	stages := make([]int, p.PP)
	for s := range stages {
		stages[s] = f.Blocks / p.PP
		if s < f.Blocks%p.PP {
			stages[s]++
		}
	}
	return stages
}

// stageOfLayer returns the stage of each layer of the model.
func (p *Plan) stageOfLayer(f Facts) []int {
	layers := []int{0}
	for s, n := range p.BlocksPerStage(f) {
		layers = append(layers, slices.Repeat([]int{s}, n)...)
	}
	return append(layers, p.PP-1)
}
