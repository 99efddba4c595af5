package main

import (
	"context"

	"github.com/galvani-ml/galvani/bench"
)

// benchCmd is `galvani bench`.
type benchCmd struct {
	Train benchTrainCmd `cmd:"" help:"Training steps beside the same model on Gorgonia's TapeMachine: tokens/s, GFLOP/s, memory, allocation."`
}

// benchTrainCmd is `galvani bench train`.
type benchTrainCmd struct {
	Rounds  int  `default:"5" help:"Turns that each side takes."`
	Steps   int  `default:"3" help:"Steps a turn."`
	Threads int  `placeholder:"N" help:"Threads of each side. Default: one for each processor."`
	JSON    bool `help:"Print one JSON object a line."`
}

// Run measures.
func (c *benchTrainCmd) Run(ctx context.Context, s *streams) error {
	return bench.Train(ctx, bench.TrainOptions{Rounds: c.Rounds, Steps: c.Steps, Threads: c.Threads, JSON: c.JSON}, s.out)
}

// childCmd is one side of a benchmark.
type childCmd struct {
	Kind string `arg:""`
}

// Run measures until its input ends.
func (c *childCmd) Run(s *streams) error { return bench.Child(c.Kind, s.in, s.out) }
