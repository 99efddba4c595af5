package train

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/train/planning"
	"github.com/galvani-ml/galvani/train/program"
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
	c := &compiledPlan{setup: s, spec: &Spec{Config: s.config, Model: text, Plan: s.plan, Threads: planning.Threads(s.config.Workers)}}
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

// CheckPlan validates a plan, compiles every stage of it, and holds it to the
// budget. Where that is exceeded the error is a *BudgetError.
func CheckPlan(ctx context.Context, plan string, o PlanOptions, out Output) error {
	c, err := compilePlan(ctx, plan, o, out)
	if err != nil {
		return err
	}
	if err := checkBudget(c.spec, c.stages); err != nil {
		return err
	}
	most := largest(plannedStages(c.stages))
	r := checked{Plan: c.spec.Plan, Text: c.spec.Plan.String(), Workers: c.spec.Config.Workers, Bytes: most.Total(), Planned: most}
	if o.Cluster != "" {
		if r.Times, err = c.checkTimes(ctx); err != nil {
			return err
		}
	}
	return r.write(out)
}

// checked is a plan that fits.
type checked struct {
	Plan    *parallel.Plan  `json:"plan"`
	Text    string          `json:"text"`
	Workers int             `json:"workers"`
	Bytes   int64           `json:"planned_bytes"`
	Planned program.Planned `json:"planned"`
	Times   *checkedTimes   `json:"times,omitempty"`
}

// checkedTimes is what a plan takes, computed twice, and held against others.
type checkedTimes struct {
	Cluster     string               `json:"cluster"`
	Step        float64              `json:"step_seconds"`       // from the search's tables
	Recomputed  float64              `json:"recomputed_seconds"` // from the plan's own compiled stages
	Certificate *planner.Certificate `json:"certificate"`
}

// checkTimes evaluates the plan twice and certifies it.
func (c *compiledPlan) checkTimes(ctx context.Context) (*checkedTimes, error) {
	p, err := c.setup.predict(ctx)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	again, err := p.Recompute(c.spec.Plan, c.spec.Config.Batch)
	if err != nil {
		return nil, err
	}
	t := &checkedTimes{Cluster: p.Request.Cluster.Name, Step: p.Step, Recomputed: again.Step}
	t.Certificate, err = p.Certify(p.Evaluation)
	return t, err
}

// write prints what was found.
func (r *checked) write(out Output) error {
	if out.JSON {
		return json.NewEncoder(out.Result).Encode(r)
	}
	fmt.Fprintf(out.Result, "ok  %s\n    %s of %s; a worker needs %v\n", r.Text, plural(r.Plan.PP, "stage", "stages"),
		plural(r.Workers/r.Plan.PP, "worker", "workers"), r.Planned)
	t := r.Times
	if t == nil {
		return nil
	}
	fmt.Fprintf(out.Result, "    %v a step on %s; %v recomputed from the compiled stages (%+.1f%%)\n", planning.Duration(t.Step), t.Cluster,
		planning.Duration(t.Recomputed), 100*(t.Recomputed/t.Step-1))
	switch x := t.Certificate; {
	case !x.Sure:
		fmt.Fprintf(out.Result, "    not certified: there are too many plans with these stages and micro-batches to try each\n")
	case x.Gap < 1e-6:
		fmt.Fprintf(out.Result, "    certified: of all plans with these stages and micro-batches none is faster (%.0f ways to run a stage tried)\n", x.Ways)
	default:
		fmt.Fprintf(out.Result, "    not the fastest: the best plan with these stages and micro-batches takes %v, %.1f%% less (%.0f ways to run a stage tried)\n",
			planning.Duration(x.Best), 100*(1-x.Best/t.Step), x.Ways)
	}
	return nil
}

// DiffPlans shows in what two plans differ: the plan, the layers, what the
// layers send, and the memory of each stage.
func DiffPlans(ctx context.Context, a, b string, o PlanOptions, out Output) error {
	var both [2]*Explanation
	for i, plan := range []string{a, b} {
		c, err := compilePlan(ctx, plan, o, out)
		if err != nil {
			return fmt.Errorf("plan %q: %w", plan, err)
		}
		if both[i], err = c.explain(ctx, plan == planAuto); err != nil {
			return fmt.Errorf("plan %q: %w", plan, err)
		}
	}
	if out.JSON {
		return json.NewEncoder(out.Result).Encode(map[string]*Explanation{"a": both[0], "b": both[1]})
	}
	diff(out.Result, both[0], both[1])
	return nil
}

// diff prints the differences of two explanations of one model.
func diff(w io.Writer, a, b *Explanation) {
	fmt.Fprintf(w, "a  %s\nb  %s\n\n", a.Text, b.Text)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(what string, a, b any) {
		if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
			fmt.Fprintf(t, "%s\t%s\t%s\n", what, x, y)
		}
	}
	fmt.Fprintln(t, "\ta\tb")
	row("workers", a.Workers, b.Workers)
	row("stages", a.Plan.PP, b.Plan.PP)
	row("micro-batches", a.Plan.Micro, b.Plan.Micro)
	row("schedule", a.Plan.Schedule, b.Plan.Schedule)
	row("bubble", fmt.Sprintf("%.1f%%", 100*a.Bubble), fmt.Sprintf("%.1f%%", 100*b.Bubble))
	if a.Predicted != nil && b.Predicted != nil {
		diffTimes(row, a.Predicted, b.Predicted)
	}
	diffLayers(row, a, b)
	diffMemory(row, a, b)
	_ = t.Flush() // fails where w does, which the caller sees in what it writes
}

// diffTimes compares where the time of a step goes.
func diffTimes(row func(string, any, any), a, b *planner.Report) {
	row("predicted step", planning.Duration(a.Step), planning.Duration(b.Step))
	row("sequences/s", fmt.Sprintf("%.4g", a.Throughput), fmt.Sprintf("%.4g", b.Throughput))
	for _, x := range []struct {
		what string
		a, b float64
	}{
		{"compute", a.Split.Compute, b.Split.Compute}, {"recompute", a.Split.Recompute, b.Split.Recompute},
		{"exchanges", sumOf(a.Split.Exchanges), sumOf(b.Split.Exchanges)}, {"messages between stages", a.Split.Messages, b.Split.Messages},
		{"bubble", a.Split.Bubble, b.Split.Bubble}, {"reduction of gradients", a.Split.Reduction, b.Split.Reduction}, {"update", a.Split.Update, b.Split.Update},
	} {
		row("predicted "+x.what, planning.Duration(x.a), planning.Duration(x.b))
	}
}

func sumOf(parts map[string]float64) (sum float64) {
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		sum += parts[name]
	}
	return sum
}

// diffLayers compares the layers, runs of the same difference on one line.
func diffLayers(row func(string, any, any), a, b *Explanation) {
	for from := 0; from < len(a.Layers); {
		l, m, to := a.Layers[from], b.Layers[from], from
		for to+1 < len(a.Layers) && l.alike(a.Layers[to+1]) && m.alike(b.Layers[to+1]) {
			to++
		}
		what := fmt.Sprintf("layer %d (%s)", from, l.Name)
		if to > from {
			what = fmt.Sprintf("layers %d-%d", from, to)
		}
		row(what, l.Strategy, m.Strategy)
		row(what+" on stage", l.Stage, m.Stage)
		row(what+" parameters a worker holds", count(int(l.Params)), count(int(m.Params)))
		row(what+" sent a step", Size(l.PerStep), Size(m.PerStep))
		from = to + 1
	}
}

// diffMemory compares the largest worker of each stage, or of the plan where
// the stages are not the same number.
func diffMemory(row func(string, any, any), a, b *Explanation) {
	if len(a.Stages) == len(b.Stages) {
		for i, s := range a.Stages {
			memoryRows(row, fmt.Sprintf("stage %d ", i), s.Memory, b.Stages[i].Memory)
		}
		return
	}
	most := func(x *Explanation) program.Planned {
		var all []program.Planned
		for _, s := range x.Stages {
			all = append(all, s.Memory)
		}
		return largest(all)
	}
	memoryRows(row, "largest worker ", most(a), most(b))
}

func memoryRows(row func(string, any, any), where string, a, b program.Planned) {
	for _, c := range exec.Classes() {
		row(where+c.String(), Size(a.Memory[c]), Size(b.Memory[c]))
	}
	row(where+"planned", Size(a.Total()), Size(b.Total()))
}
