package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/galvani-ml/galvani/train"
)

// planCmd is `galvani plan`.
type planCmd struct {
	Search  planSearchCmd  `cmd:"" help:"The fastest plan that fits, and why: Galvatron-BMW's search over data, ZeRO, tensor and pipeline parallelism and checkpointing, mixed per layer."`
	Explain planExplainCmd `cmd:"" help:"What each layer, stage and worker does under a plan: strategies, neighbours, bytes sent, schedule, memory by class; with --cluster also time, and why another strategy would be slower."`
	Check   planCheckCmd   `cmd:"" help:"Whether a plan fits the model, the batch, the workers and --memory. Compiles every stage; exits with 1 and the reason where not. With --cluster it also holds the plan against every other of its kind, where these are few enough to try."`
	Diff    planDiffCmd    `cmd:"" help:"In what two plans differ: strategies by layer, bytes sent, memory by class; with --cluster also time."`
}

// output is where results and progress of a plan go.
func (s *streams) output(json bool) train.Output {
	return train.Output{Result: s.out, Progress: s.errs, JSON: json, Version: version()}
}

// planSearchCmd is `galvani plan search`.
type planSearchCmd struct {
	train.SearchOptions
	JSON bool `help:"Print one JSON object."`
}

// Run searches. Searches make much garbage and hold little, so that it is collected
// less often, unless GOGC says how often.
func (c *planSearchCmd) Run(ctx context.Context, s *streams) error {
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(400))
	}
	return train.SearchPlan(ctx, c.SearchOptions, s.output(c.JSON))
}

// planExplainCmd is `galvani plan explain`.
type planExplainCmd struct {
	Plan string `arg:"" help:"auto, a plan's JSON file, or its text, as 'pp=2 dp=2 micro=4'."`
	train.PlanOptions
	JSON bool `help:"Print one JSON object."`
}

// Run explains.
func (c *planExplainCmd) Run(ctx context.Context, s *streams) error {
	return train.ExplainPlan(ctx, c.Plan, c.PlanOptions, s.output(c.JSON))
}

// planCheckCmd is `galvani plan check`.
type planCheckCmd struct {
	Plan string `arg:"" help:"auto, a plan's JSON file, or its text, as 'pp=2 dp=2 micro=4'."`
	train.PlanOptions
	JSON bool `help:"Print one JSON object."`
}

// Run checks.
func (c *planCheckCmd) Run(ctx context.Context, s *streams) error {
	return train.CheckPlan(ctx, c.Plan, c.PlanOptions, s.output(c.JSON))
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
	return train.DiffPlans(ctx, c.A, c.B, c.PlanOptions, s.output(c.JSON))
}

// simulateCmd is `galvani simulate`.
type simulateCmd struct {
	Plan string `arg:"" help:"auto, a plan's JSON file, or its text, as 'pp=2 dp=2 micro=4'."`
	train.PlanOptions
	Trace string `placeholder:"FILE" help:"Write every event as a trace for Chrome and Perfetto (ui.perfetto.dev)."`
	JSON  bool   `help:"Print one JSON object."`
}

// Run plays.
func (c *simulateCmd) Run(ctx context.Context, s *streams) error {
	return train.SimulatePlan(ctx, c.Plan, c.PlanOptions, c.Trace, s.output(c.JSON))
}
