package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/train/launch"
	"github.com/galvani-ml/galvani/train/planning"
	"github.com/galvani-ml/galvani/train/program"
	"github.com/galvani-ml/galvani/train/sampling"
)

// Output is where a run reports to.
type Output struct {
	Result   io.Writer // what the run found
	Progress io.Writer // how it goes
	JSON     bool      // Result is one JSON object
	Version  string    // of this program; workers must be of the same
}

// Result is what a run found.
type Result struct {
	Out            string   `json:"out"`
	Checkpoint     string   `json:"checkpoint"`
	Step           int      `json:"step"`
	Loss           float64  `json:"loss"`
	ValLoss        *float64 `json:"val_loss,omitempty"`
	UnigramEntropy float64  `json:"unigram_entropy"`
	Tokens         int64    `json:"tokens"`
	Seconds        float64  `json:"seconds"`
	Memory         Memory   `json:"memory"`
	// Predicted is what the planner said, where it chose the plan.
	Predicted *Predicted `json:"predicted,omitempty"`
	Sample    string     `json:"sample,omitempty"`
	// Restarts are the recoveries from failures, in order.
	Restarts []Restart `json:"restarts,omitempty"`
	// Hangs tell what the workers were at when the run stood still.
	Hangs []HangReport `json:"hangs,omitempty"`
}

// Predicted is what a plan was predicted to take, and took.
type Predicted struct {
	StepSeconds     float64 `json:"step_seconds"`
	MeasuredSeconds float64 `json:"measured_step_seconds"` // median, the first steps left out
	Bytes           int64   `json:"bytes"`                 // of the largest worker, as the search added it up
	PlannedBytes    int64   `json:"planned_bytes"`         // as it was compiled
	PeakBytes       int64   `json:"peak_bytes"`            // measured
}

// String gives both, and by how much they differ.
func (p *Predicted) String() string {
	return fmt.Sprintf("%v a step, measured %v (%+.1f%%); %v of memory, compiled to %v, measured %v",
		planning.Duration(p.StepSeconds), planning.Duration(p.MeasuredSeconds), 100*(p.MeasuredSeconds/p.StepSeconds-1), Size(p.Bytes), Size(p.PlannedBytes), Size(p.PeakBytes))
}

// Memory is what the workers of a run were planned to take, and took.
type Memory struct {
	PlannedBytes int64         `json:"planned_bytes"` // the largest worker
	PeakBytes    int64         `json:"peak_bytes"`    // measured, the largest worker
	Stages       []StageMemory `json:"stages"`
}

// StageMemory is the memory of the largest worker of a pipeline stage.
type StageMemory struct {
	Stage        int             `json:"stage"`
	PlannedBytes int64           `json:"planned_bytes"`
	Planned      program.Planned `json:"planned"` // by class
	PeakBytes    int64           `json:"peak_bytes"`
}

// newMemory is the plan of the stages, nothing measured yet.
func newMemory(stages []program.Planned) Memory {
	m := Memory{PlannedBytes: largest(stages).Total()}
	for i, p := range stages {
		m.Stages = append(m.Stages, StageMemory{Stage: i, PlannedBytes: p.Total(), Planned: p})
	}
	return m
}

// measured takes in what a worker of a stage held.
func (m *Memory) measured(stage int, bytes int64) {
	m.PeakBytes = max(m.PeakBytes, bytes)
	m.Stages[stage].PeakBytes = max(m.Stages[stage].PeakBytes, bytes)
}

// Run trains: it is the coordinator of a job. When ctx ends, it has the workers
// save and stop after their current step.
func Run(ctx context.Context, c Config, o Output) error {
	started := time.Now()
	p := newProgress(o.Progress, 0, c.Steps)
	s, err := newSetup(ctx, c, o.Version, p.fact)
	if err != nil {
		return err
	}
	defer s.close()
	spec, err := s.spec()
	if err != nil {
		return err
	}
	spec.Version = o.Version
	planned, err := planMemory(spec)
	if err != nil {
		return err
	}
	if err := s.openRun(spec); err != nil {
		return err
	}
	p.steps, p.from, p.every = spec.Config.Steps, spec.Start, max(1, (spec.Config.Steps-spec.Start)/progressLines)
	s.introduce(p, spec, planned)
	j := &job{setup: s, spec: spec, progress: p, planned: planned, version: o.Version}
	r, err := j.run(ctx)
	p.closeLine()
	if err != nil {
		return err
	}
	r.UnigramEntropy, r.Seconds = s.entropy, time.Since(started).Seconds()
	if r.Predicted = s.predicted(j.seconds, r.Memory); r.Predicted != nil {
		p.fact("predicted", "%v", r.Predicted)
	}
	if r.Step < spec.Config.Steps {
		p.fact("stopped", "after step %d, as asked; continue with: galvani train --resume --out %s", r.Step, spec.Out)
	} else if err := s.sample(ctx, r); err != nil {
		return err
	}
	return r.write(o)
}

// settled is how many steps a run takes to reach its pace: they are not counted.
const settled = 2

// predicted compares what was predicted with what was measured; nil where the
// planner did not choose, or for too short a run.
func (s *setup) predicted(seconds []float64, m Memory) *Predicted {
	if s.found == nil || len(seconds) <= settled {
		return nil
	}
	steps := slices.Sorted(slices.Values(seconds[settled:]))
	p := &Predicted{StepSeconds: s.found.Step, MeasuredSeconds: steps[len(steps)/2], PlannedBytes: m.PlannedBytes, PeakBytes: m.PeakBytes}
	for _, stage := range s.found.Stages {
		p.Bytes = max(p.Bytes, stage.Memory)
	}
	return p
}

// spec is what every worker gets.
func (s *setup) spec() (*Spec, error) {
	text, err := json.Marshal(s.model)
	if err != nil {
		return nil, err
	}
	c := s.config
	name := c.Model
	if c.Init != "" {
		name, c.Model = filepath.Base(c.Init), ""
	}
	if c.Out == "" {
		c.Out = filepath.Join("runs", name+"-"+time.Now().Format("20060102-150405"))
	}
	if c.EvalEvery == 0 {
		c.EvalEvery = max(1, c.Steps/5)
	}
	spec := &Spec{
		Config: c, Model: text, Plan: s.plan, Data: s.options, Weights: s.weights, Out: c.Out,
		Threads: launch.Threads(c.Workers),
	}
	for _, path := range []*string{&spec.Out, &spec.Weights, &spec.Data.Source, &spec.Data.Labels} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	if s.manifest != nil {
		spec.Start, spec.Moments = s.manifest.Step, true
	}
	return spec, nil
}

// planName is the file of a run's plan.
const planName = "plan.json"

// openRun makes the run's directory, with what reproduces it.
func (s *setup) openRun(spec *Spec) error {
	out := spec.Out
	if s.manifest == nil {
		if _, _, err := LatestCheckpoint(out); !errors.Is(err, ErrNoCheckpoint) {
			return fmt.Errorf("--out %s: holds a run already; continue it with --resume, or choose another directory", out)
		}
	}
	if err := os.MkdirAll(filepath.Join(out, checkpointsDir), 0o777); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	if err := removePartial(out); err != nil {
		return err
	}
	config := spec.Config
	config.NATS = withoutSecrets(config.NATS)
	text, err := config.YAML()
	if err != nil {
		return err
	}
	plan, err := json.MarshalIndent(s.plan, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(out, ConfigName), text, 0o666),
		os.WriteFile(filepath.Join(out, planName), append(plan, '\n'), 0o666),
	)
}

// introduce says what is about to run.
func (s *setup) introduce(p *progress, spec *Spec, planned []program.Planned) {
	for _, w := range models.Warnings(s.model) {
		p.fact("warning", "%s", w)
	}
	name := spec.Config.Model
	if s.weights != "" {
		name = s.weights
	}
	p.fact("model", "%s: %d layers of width %d, %s parameters", name, s.model.Layers(), s.model.Width(), count(numParams(s.model)))
	p.fact("plan", "%s: %d workers of %d threads, %v planned each", s.plan, spec.Config.Workers, spec.Threads, Size(largest(planned).Total()))
	p.fact("memory", "%v", largest(planned))
	if len(planned) > 1 {
		for stage, m := range planned {
			p.fact("", "stage %d: %v", stage, m)
		}
	}
	if n := spec.Config.SnapshotEvery; n > 0 {
		p.fact("snapshots", "every %d steps, in %v of the coordinator's memory", n, snapshotBytes(s.model))
	}
	for _, reason := range s.reasons {
		p.fact("", "%s", reason)
	}
	if s.manifest != nil {
		p.fact("resume", "after step %d, from %s", s.manifest.Step, s.weights)
	}
	p.fact("run", "%s", spec.Out)
}

func numParams(cfg models.Config) int {
	m, err := models.Build(cfg, models.Options{Batch: 1, Seq: 1})
	if err != nil {
		return 0 // the model has been built before; this one is smaller
	}
	return m.NumParams()
}

// count prints a number of parameters as "3.1M".
func count(n int) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2fB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	case n < 1e3:
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%.1fk", float64(n)/1e3)
}

// sample adds generated text to the result, where the model generates any.
func (s *setup) sample(ctx context.Context, r *Result) error {
	if s.config.Sample == 0 || s.tokenizer == nil || masked(s.model) {
		return nil
	}
	g, err := OpenGenerator(r.Checkpoint)
	if err != nil {
		return err
	}
	defer g.Close()
	text, err := g.Generate(ctx, "", s.config.Sample, sampling.Options{Temperature: 0.8, TopK: 50, TopP: 1, Seed: s.config.Seed}, nil)
	r.Sample = text
	return err
}

// write prints the result for a person or a program.
func (r *Result) write(o Output) error {
	if o.JSON {
		return json.NewEncoder(o.Result).Encode(r)
	}
	if r.ValLoss != nil {
		fmt.Fprintf(o.Result, "validation loss %.4f nats a token; unigram entropy of the data %.4f\n", *r.ValLoss, r.UnigramEntropy)
	}
	fmt.Fprintf(o.Result, "checkpoint %s\n", r.Checkpoint)
	if r.Sample != "" {
		fmt.Fprintf(o.Result, "sample\n%s\n", r.Sample)
	}
	return nil
}
