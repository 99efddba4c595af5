package main

import (
	"context"

	"github.com/galvani-ml/galvani/train"
)

// planCmd is `galvani plan`.
type planCmd struct {
	Explain planExplainCmd `cmd:"" help:"What each layer, stage and worker does under a plan: strategies, neighbours, bytes sent, schedule, memory by class."`
	Check   planCheckCmd   `cmd:"" help:"Whether a plan fits the model, the batch, the workers and --memory. Compiles every stage; exits with 1 and the reason where not."`
	Diff    planDiffCmd    `cmd:"" help:"In what two plans differ: strategies by layer, bytes sent, memory by class."`
}

// planExplainCmd is `galvani plan explain`.
type planExplainCmd struct {
	Plan string `arg:"" help:"auto, a plan's JSON file, or its text, as 'pp=2 dp=2 micro=4'."`
	train.PlanOptions
	JSON bool `help:"Print one JSON object."`
}

// Run explains.
func (c *planExplainCmd) Run(ctx context.Context, s *streams) error {
	return train.ExplainPlan(ctx, c.Plan, c.PlanOptions, s.out, c.JSON)
}

// planCheckCmd is `galvani plan check`.
type planCheckCmd struct {
	Plan string `arg:"" help:"auto, a plan's JSON file, or its text, as 'pp=2 dp=2 micro=4'."`
	train.PlanOptions
	JSON bool `help:"Print one JSON object."`
}

// Run checks.
func (c *planCheckCmd) Run(ctx context.Context, s *streams) error {
	return train.CheckPlan(ctx, c.Plan, c.PlanOptions, s.out, c.JSON)
}

// planDiffCmd is `galvani plan diff`.
type planDiffCmd struct {
	A string `arg:"" help:"auto, a plan's JSON file, or its text."`
	B string `arg:"" help:"The other plan."`
	train.PlanOptions
	JSON bool `help:"Print one JSON object: what explain prints of both."`
}

// Run compares.
func (c *planDiffCmd) Run(ctx context.Context, s *streams) error {
	return train.DiffPlans(ctx, c.A, c.B, c.PlanOptions, s.out, c.JSON)
}
