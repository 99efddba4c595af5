package main

import (
	"github.com/galvani-ml/galvani/bench"
)

// benchCmd is `galvani bench`.
type benchCmd struct {
}

// childCmd is one side of a benchmark.
type childCmd struct {
	Kind string `arg:""`
}

// Run measures until its input ends.
func (c *childCmd) Run(s *streams) error { return bench.Child(c.Kind, s.in, s.out) }
