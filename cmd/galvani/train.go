package main

import (
	"context"

	"github.com/galvani-ml/galvani/train"
)

// trainCmd is `galvani train`.
type trainCmd struct {
	File string `arg:"" optional:"" name:"config" type:"existingfile" help:"Configuration in YAML; its keys are the flags' names. Flags override it."`
	train.Config
	JSON bool `help:"Print the result as JSON."`
}

// Run trains.
func (c *trainCmd) Run(ctx context.Context, s *streams) error {
	return train.Run(ctx, c.Config, train.Output{Result: s.out, Progress: s.errs, JSON: c.JSON, Version: version()})
}

// workerCmd is one worker process of a job.
type workerCmd struct{}

// Run works until the job is done.
func (*workerCmd) Run(ctx context.Context, s *streams) error { return train.Work(ctx, s.in) }
