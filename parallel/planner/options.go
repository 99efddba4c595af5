package planner

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/parallel/search"
)

// Options say what a plan is sought for.
type Options struct {
	Model   Model
	Source  Source
	Machine cost.Machine
	// Space lists the strategies. Its Devices are the ranks of the plan.
	Space     search.Space
	Batches   []int // rows of a step, over all ranks
	Stages    []int // pipeline degrees; empty for all that divide the devices
	Micros    []int // empty for all that divide a batch
	Schedules []parallel.Schedule
	Rows      int // of a rank in a micro-batch; 0 for any number
	Mode      search.Mode
	// Uniform gives all layers one strategy.
	Uniform bool
	// Memory is the budget of a rank, in bytes; Process is what it takes beside
	// the layers.
	Memory, Process int64
	// AtOnce is the number of ranks of the cluster that can compute at once. 0
	// where each has a device of its own.
	AtOnce float64
	// Margin is how much longer than the best, as a share, the best plan with other
	// stages, micro-batches or schedule may take and still be sought.
	Margin float64
	// Fixed is what a step takes whatever the plan, in seconds.
	Fixed float64
}

// check reports what makes no sense.
func (o *Options) check() error {
	m := &o.Model
	switch {
	case len(m.Kinds) < 3 || len(m.Facts.Layers) != len(m.Kinds):
		return fmt.Errorf("planner: a model of %d layers, with facts of %d: needs an embedding, blocks and a head, and facts of each", len(m.Kinds), len(m.Facts.Layers))
	case o.Space.Devices < 1:
		return fmt.Errorf("planner: %d devices: must be at least 1", o.Space.Devices)
	case len(o.Batches) == 0 || slices.Min(o.Batches) < 1:
		return fmt.Errorf("planner: batches %v: need at least one, of 1 row or more", o.Batches)
	case o.Memory <= o.Process:
		return &ProcessError{o.Memory, o.Process}
	}
	return nil
}

// stages returns the pipeline degrees that are tried.
func (o *Options) stages() []int {
	var kept []int
	for _, p := range o.Space.Stages() {
		if p <= o.Model.Blocks() && (len(o.Stages) == 0 || slices.Contains(o.Stages, p)) {
			kept = append(kept, p)
		}
	}
	return kept
}

// schedules returns those that are tried.
func (o *Options) schedules() []parallel.Schedule {
	if len(o.Schedules) == 0 {
		return []parallel.Schedule{parallel.OneFOneB, parallel.GPipe}
	}
	return o.Schedules
}

// mode returns the way partitions are searched.
func (o *Options) mode() search.Mode {
	if o.Mode == "" {
		return search.ModeExact
	}
	return o.Mode
}
