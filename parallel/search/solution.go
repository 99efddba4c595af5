package search

import (
	"slices"

	"github.com/galvani-ml/galvani/parallel"
)

// Point is one way to run a stage.
type Point struct {
	Time   float64 // C: of one micro-batch, without reduction of gradients
	Sync   float64 // e: what the last micro-batch takes more
	Memory int64   // at the worst moment, exact
	Choice []int   // index of the strategy of each layer
}

// Solution is a partition with the strategy of every layer.
type Solution struct {
	Partition []int   // blocks of each stage
	Stages    []Point // of each stage
	Time      float64 // of a step
}

// Choice returns the index of the strategy of each of the model's layers.
func (s *Solution) Choice() []int {
	var choice []int
	for _, p := range s.Stages {
		choice = append(choice, p.Choice...)
	}
	return choice
}

// Plan returns the solution of a problem whose layers list their strategies as
// a plan.
func (s *Solution) Plan(p *Problem) *parallel.Plan {
	plan := parallel.Default()
	plan.PP, plan.Micro, plan.Schedule = p.Stages, p.Micro, p.Schedule
	for l, c := range s.Choice() {
		plan.Layers = append(plan.Layers, p.Layers[l].Strategies[c])
	}
	if !slices.Equal(s.Partition, even(p.blocks(), p.Stages)) {
		plan.Stages = slices.Clone(s.Partition)
	}
	return plan
}

// even divides blocks as [parallel.Plan.BlocksPerStage] does.
func even(blocks, stages int) []int {
	partition := make([]int, stages)
	for i := range partition {
		partition[i] = blocks / stages
		if i < blocks%stages {
			partition[i]++
		}
	}
	return partition
}
