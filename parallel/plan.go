package parallel

import "slices"

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

// Mesh returns the arrangement of the ranks: pp outermost, then the levels of
// the strategy's tree. Where layers differ, each level of each is an axis or
// several neighbouring ones.
func (p *Plan) Mesh() Mesh {
	mesh := Mesh{{AxisPP, p.PP}}
	if a, err := arrange(p.distinct()); err == nil { // checkValues has the error
		mesh = append(mesh, a.axes...)
	}
	return mesh
}

// distinct returns the strategies of the layers, those that the plan lists or
// its one.
func (p *Plan) distinct() []Strategy {
	if len(p.Layers) > 0 {
		return p.Layers
	}
	return []Strategy{p.Strategy}
}

// BatchWays returns the smallest number of parts that the rows of a micro-batch
// split into on every layer: dp, or the least common multiple where layers
// differ.
func (p *Plan) BatchWays() int {
	ways := 1
	for _, s := range p.distinct() {
		dp := s.Degree(RoleDP)
		ways = ways / gcd(ways, dp) * dp
	}
	return ways
}

// LayerStrategies returns the strategy of each of the model's layers. A plan
// that lists none checkpoints blocks only: the head's backward pass follows its
// forward pass at once, and the embedding has nothing to recompute.
func (p *Plan) LayerStrategies(f Facts) []Strategy {
	if len(p.Layers) > 0 {
		return slices.Clone(p.Layers)
	}
	all := slices.Repeat([]Strategy{p.Strategy}, f.Blocks+2)
	all[0].Checkpoint, all[f.Blocks+1].Checkpoint = false, false
	return all
}

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
