package train

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/launch"
)

// PlanOptions say what a plan is looked at for. They mean what they mean in
// [Config].
type PlanOptions struct {
	Model       string      `default:"gpt-micro" placeholder:"PRESET" help:"Model: ${presets}. Default: ${default}."`
	Init        string      `placeholder:"DIR" help:"Model of a Hugging Face directory or a checkpoint, instead of --model."`
	Vocab       int         `default:"2048" help:"Vocabulary of --model; 0 for the preset's own."`
	Batch       int         `default:"16" help:"Sequences a step, over all workers."`
	MicroBatch  int         `placeholder:"N" help:"Sequences a worker runs at once. Default: what the plan says."`
	Seq         int         `default:"128" help:"Tokens in a sequence."`
	Dropout     float64     `default:"0" help:"Dropout of embeddings and residual branches."`
	Workers     int         `placeholder:"N" help:"Worker processes. Default: what the plan needs, 2 with auto."`
	Memory      Size        `placeholder:"SIZE" help:"Memory a worker may use, as 200MiB. Default: no limit."`
	Cluster     string      `placeholder:"NAME" help:"Machines: here, which is this machine, measured once and kept; a preset: ${clusters}; or a file, as galvani profile --out writes."`
	Precision   string      `default:"fp32" enum:"fp32,bf16" help:"Products by parameters: ${enum}."`
	DisablePass []exec.Pass `placeholder:"PASS" help:"Passes of the compiler to leave out, of ${passes}."`
	EnablePass  []exec.Pass `placeholder:"PASS" help:"Passes to do besides the usual ones."`
}

// config is that of a run under the plan.
func (o PlanOptions) config(plan string) Config {
	return Config{
		Model: o.Model, Init: o.Init, Vocab: o.Vocab, Batch: o.Batch, MicroBatch: o.MicroBatch, Seq: o.Seq, Dropout: o.Dropout,
		Workers: o.Workers, Cluster: o.Cluster, Memory: o.Memory, Precision: o.Precision, DisablePass: o.DisablePass, EnablePass: o.EnablePass, Plan: plan,
	}
}

// validate checks what no other check would.
func (o PlanOptions) validate() error {
	for _, v := range []struct {
		name  string
		value int
		least int
	}{{"batch", o.Batch, 1}, {"seq", o.Seq, 1}, {"micro-batch", o.MicroBatch, 0}, {"workers", o.Workers, 0}, {"vocab", o.Vocab, 0}} {
		if v.value < v.least {
			return fmt.Errorf("--%s %d: must be at least %d", v.name, v.value, max(1, v.least))
		}
	}
	if o.Dropout < 0 || o.Dropout >= 1 {
		return fmt.Errorf("--dropout %g: must be in [0, 1)", o.Dropout)
	}
	return exec.CheckPasses(slices.Concat(o.DisablePass, o.EnablePass)...)
}

// compiledPlan is a plan compiled for a model.
type compiledPlan struct {
	setup  *setup
	spec   *Spec
	facts  parallel.Facts
	stages []*stagePlan
}

// open finds the model, of the size that training would give it.
func (o PlanOptions) open(ctx context.Context, plan string, out Output) (*setup, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &setup{config: o.config(plan), weights: o.Init, version: out.Version, say: newProgress(out.Progress, 0, 1).fact}
	if err := s.openModel(ctx); err != nil {
		return nil, err
	}
	return s, s.sizePreset()
}

// compilePlan validates a plan, "auto", a file or its text, and compiles every
// stage, without allocating anything.
func compilePlan(ctx context.Context, plan string, o PlanOptions, out Output) (*compiledPlan, error) {
	s, err := o.open(ctx, plan, out)
	if err != nil {
		return nil, err
	}
	if err := s.choosePlan(ctx); err != nil {
		return nil, err
	}
	text, err := json.Marshal(s.model)
	if err != nil {
		return nil, err
	}
	c := &compiledPlan{setup: s, spec: &Spec{Config: s.config, Model: text, Plan: s.plan, Threads: launch.Threads(s.config.Workers)}}
	if c.facts, err = s.facts(); err != nil {
		return nil, err
	}
	c.stages, err = planStages(c.spec)
	return c, err
}

// sizePreset gives a preset the vocabulary and the positions that training
// would.
func (s *setup) sizePreset() (err error) {
	if s.weights != "" {
		if s.config.Seq > s.model.MaxSeq() {
			return fmt.Errorf("--seq %d: the model of %s has %d positions", s.config.Seq, s.weights, s.model.MaxSeq())
		}
		return nil
	}
	if s.config.Vocab > 0 {
		if s.model, err = models.WithVocab(s.model, s.config.Vocab); err != nil {
			return err
		}
	}
	s.model, err = models.WithPositions(s.model, s.config.Seq)
	return err
}

// ExplainPlan says what every layer and stage does under a plan, in words and
// numbers. It explains plans that exceed the budget, too.
func ExplainPlan(ctx context.Context, plan string, o PlanOptions, out Output) error {
	c, err := compilePlan(ctx, plan, o, out)
	if err != nil {
		return err
	}
	x, err := c.explain(ctx, plan == planAuto)
	if err != nil {
		return err
	}
	return x.write(out.Result, out.JSON)
}

// explain explains the plan, with what it takes where a cluster is given or
// timed says so.
func (c *compiledPlan) explain(ctx context.Context, timed bool) (*Explanation, error) {
	x := explain(c.setup, c.spec, c.stages, c.facts)
	if !timed && c.setup.config.Cluster == "" {
		return x, nil
	}
	p, err := c.setup.predict(ctx)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	x.Cluster = p.Request.Cluster.Name
	if x.Predicted, err = p.Report(p.Evaluation); err != nil {
		return nil, err
	}
	if c.setup.found != nil {
		x.Predicted.WithOthers(c.setup.found.Choice)
	}
	return x, nil
}
