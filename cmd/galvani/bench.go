package main

import (
	"context"

	"github.com/galvani-ml/galvani/bench"
)

// benchCmd is `galvani bench`.
type benchCmd struct {
	Train benchTrainCmd `cmd:"" help:"Training steps beside the same model on Gorgonia's TapeMachine: tokens/s, GFLOP/s, memory, allocation."`
	CPU   benchCPUCmd   `cmd:"" name:"cpu" help:"Kernels at the sizes of GPT-2 124M beside the limits of this machine: GFLOP/s, GB/s, share of the peak."`
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

// benchCPUCmd is `galvani bench cpu`.
type benchCPUCmd struct {
	Threads int  `placeholder:"N" help:"Threads of the second figure of each kernel; the first is of one. Default: one for each processor."`
	Large   bool `help:"Also matrix products of 4,096 rows, and those of the 50,304-wide head: minutes instead of seconds."`
	JSON    bool `help:"Print one JSON object a line."`
}

// Run measures.
func (c *benchCPUCmd) Run(ctx context.Context, s *streams) error {
	return bench.CPU(ctx, bench.CPUOptions{Threads: c.Threads, Large: c.Large, JSON: c.JSON}, s.out)
}

// childCmd is one side of a benchmark.
type childCmd struct {
	Kind string `arg:""`
}

// Run measures until its input ends.
func (c *childCmd) Run(s *streams) error { return bench.Child(c.Kind, s.in, s.out) }
