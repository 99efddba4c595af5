package parallel

import "slices"

// Simplify returns the plan in its shortest form for a model: one strategy where
// all layers have it, and no list of stages where they are even.
func (p *Plan) Simplify(f Facts) *Plan {
	q := *p
	q.Layers = p.LayerStrategies(f)
	q.Strategy = Strategy{DP: 1, TP: 1}
	uniform := q
	uniform.Layers, uniform.Strategy = nil, q.Layers[1]
	if slices.Equal(uniform.LayerStrategies(f), q.Layers) {
		q = uniform
	}
	even := q
	even.Stages = nil
	if slices.Equal(even.BlocksPerStage(f), q.BlocksPerStage(f)) {
		q.Stages = nil
	}
	return &q
}
