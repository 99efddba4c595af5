package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/parallel/simulate"
	training "github.com/galvani-ml/galvani/train"
	"github.com/galvani-ml/galvani/train/planning"
	profiling "github.com/galvani-ml/galvani/train/profile"
	"github.com/galvani-ml/galvani/train/program"
)

// comparison is a workload under many plans, predicted and run.
type comparison struct {
	options  PredictOptions
	workload predictWorkload
	workers  int
	dir      string // of the data
	problem  *planning.Problem
	plans    []*comparedPlan
	choices  []choice
}

// comparedPlan is a plan with what is predicted and what was measured of it.
type comparedPlan struct {
	plan      *parallel.Plan
	chosen    bool // by the planner, for some budget
	formula   *planner.Evaluation
	simulated *simulate.Timeline
	planned   int64 // bytes of the largest worker, compiled
	trial     *training.Trial
	steps     []training.Metrics // that count
	rounds    [][]training.Metrics
}

// seconds is the median of the steps so far.
func (p *comparedPlan) seconds() float64 {
	return median(each(p.steps, stepSeconds))
}

// choice is what the planner chooses within a budget.
type choice struct {
	budget int64
	plan   *comparedPlan
	reason error // why there is none
}

// newComparison predicts all plans, and has the planner choose. It is to be
// closed.
func newComparison(ctx context.Context, o PredictOptions, w predictWorkload, workers int) (_ *comparison, err error) {
	c := &comparison{options: o, workload: w, workers: workers}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.dir, err = tempDir(); err != nil {
		return nil, err
	}
	if err := c.writeData(); err != nil {
		return nil, err
	}
	if err := c.openProblem(ctx); err != nil {
		return nil, err
	}
	for _, plan := range somePlans(everyPlan(c.problem.Model.Facts, workers, w.Batch), o.Plans) {
		if _, err := c.add(ctx, plan); err != nil {
			return nil, err
		}
	}
	return c, c.choose(ctx)
}

func (c *comparison) close() {
	for _, p := range c.plans {
		p.trial.Close()
	}
	if c.problem != nil {
		c.problem.Close()
	}
	_ = os.RemoveAll(c.dir) // what is left is the system's to clean
}

// say tells how it goes.
func (c *comparison) say(format string, args ...any) {
	fmt.Fprintf(c.options.Log, "%s, %s: %s\n", c.workload.Label, plural(c.workers, "worker"), fmt.Sprintf(format, args...))
}

func (c *comparison) tokens() string { return filepath.Join(c.dir, "tokens.bin") }
func (c *comparison) labels() string { return filepath.Join(c.dir, "labels.bin") }

// ignored is the label of a token that is no target.
const ignored = -100

// writeData writes one batch of random tokens, and labels of every seventh for a
// model that predicts hidden ones.
func (c *comparison) writeData() error {
	r := rand.New(rand.NewPCG(seed, 0))
	var tokens, labels []byte
	for i := range c.workload.Batch*c.workload.Seq + 1 {
		token, label := r.IntN(c.workload.Model.Vocab()), ignored
		if i%7 == 0 {
			label = r.IntN(c.workload.Model.Vocab())
		}
		tokens = binary.LittleEndian.AppendUint16(tokens, uint16(token))
		labels = binary.LittleEndian.AppendUint16(labels, uint16(int16(label)))
	}
	if err := os.WriteFile(c.tokens(), tokens, 0o666); err != nil {
		return err
	}
	return os.WriteFile(c.labels(), labels, 0o666)
}

// config is a run under a plan that trains on the batch again and again.
func (c *comparison) config(plan string) training.Config {
	t := training.Config{
		Data: c.tokens(), DataOrder: "sequential", Seq: c.workload.Seq, Batch: c.workload.Batch, Steps: warmup + c.options.Steps,
		Vocab: max(300, c.workload.Model.Vocab()), LR: learningRate, LRSchedule: "constant", Betas: training.Betas{beta1, beta2}, Eps: epsilon,
		Seed: seed, Clip: 1, Plan: plan, Precision: "fp32", Device: "auto", Collectives: "auto",
	}
	if c.workload.Model.Type() == "bert" {
		t.Labels = c.labels()
	}
	return t
}

// openProblem measures this machine and the layers of the model, or takes what was
// measured before.
func (c *comparison) openProblem(ctx context.Context) error {
	o := c.options
	say := func(_, text string) { c.say("measuring %s", text) }
	measure := profiling.Options{Workers: c.workers, Fresh: o.Fresh, Cache: o.Cache, Network: o.Network, Version: o.Version, Say: say}
	if o.quick {
		measure.Window, measure.Largest = time.Millisecond, 16<<10
	}
	hardware, err := profiling.Hardware(ctx, measure)
	if err != nil {
		return err
	}
	r := planning.Request{
		Name: c.workload.Label, Program: program.Options{Model: c.workload.Model, Seq: c.workload.Seq, Precision: "fp32"},
		Workers: c.workers, Batches: []int{c.workload.Batch}, Cluster: hardware.Cluster, Threads: planning.Threads(c.workers),
		Paradigms: predictParadigms, Checkpoint: true, Micros: predictMicros,
	}
	layers, err := r.Layers()
	if err != nil {
		return err
	}
	layers.Fresh, layers.Cache, layers.Say = o.Fresh, o.Cache, say
	if r.Times, _, err = profiling.MeasureLayers(ctx, layers); err != nil {
		return err
	}
	c.problem, err = planning.Open(r)
	return err
}

// add predicts a plan and prepares its trial, unless it is there.
func (c *comparison) add(ctx context.Context, plan *parallel.Plan) (*comparedPlan, error) {
	text := plan.String()
	for _, p := range c.plans {
		if p.plan.String() == text {
			return p, nil
		}
	}
	p := &comparedPlan{plan: plan}
	var err error
	if p.formula, err = planner.Evaluate(c.problem.Options, plan, c.workload.Batch); err != nil {
		return nil, fmt.Errorf("plan '%s': %w", text, err)
	}
	if p.simulated, err = simulate.Play(c.problem.Job(p.formula)); err != nil {
		return nil, fmt.Errorf("plan '%s': %w", text, err)
	}
	stages, err := c.problem.Plan(plan, c.workload.Batch)
	if err != nil {
		return nil, fmt.Errorf("plan '%s': %w", text, err)
	}
	for _, s := range stages {
		p.planned = max(p.planned, s.Total())
	}
	if p.trial, err = training.NewTrial(ctx, c.workload.Model, c.config(text), machineWide()); err != nil {
		return nil, fmt.Errorf("plan '%s': %w", text, err)
	}
	c.plans = append(c.plans, p)
	return p, nil
}

// choose has the planner choose within several budgets: what the smallest plan
// needs, a quarter and half of what the largest needs beyond that, and all.
func (c *comparison) choose(ctx context.Context) error {
	var sizes []int64
	for _, p := range c.plans {
		sizes = append(sizes, p.planned)
	}
	slices.Sort(sizes)
	for _, budget := range budgets(sizes) {
		c.problem.Options.Memory = budget
		x := choice{budget: budget}
		found, err := c.problem.Choose(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if x.reason = err; err == nil {
			if x.plan, err = c.add(ctx, found.Plan); err != nil {
				return err
			}
			x.plan.chosen = true
		}
		c.choices = append(c.choices, x)
	}
	return nil
}

// budgets are those for plans of these sizes, which are sorted: of a tenth, a
// quarter, a half and all of the plans.
func budgets(sizes []int64) []int64 {
	var all []int64
	for _, share := range []float64{0.1, 0.25, 0.5, 1} {
		b := sizes[int(share*float64(len(sizes)-1))]
		if !slices.Contains(all, b) {
			all = append(all, b)
		}
	}
	return all
}

// run runs all plans in turns, and then those again that the summary compares:
// the best of many is one that was lucky, too.
func (c *comparison) run(ctx context.Context) error {
	if err := c.rounds(ctx, c.plans, c.options.Rounds, "round"); err != nil {
		return err
	}
	return c.rounds(ctx, c.finalists(), c.options.Rounds, "final round")
}

func (c *comparison) rounds(ctx context.Context, plans []*comparedPlan, rounds int, name string) error {
	turns := slices.Clone(plans)
	for round := range rounds {
		c.say("%s %d of %d, of %s", name, round+1, rounds, plural(len(turns), "plan"))
		for _, p := range turns {
			steps, err := p.trial.Run(ctx)
			if err != nil {
				return fmt.Errorf("plan '%s': %w", p.plan, err)
			}
			if len(steps) != warmup+c.options.Steps {
				return fmt.Errorf("plan '%s': %d steps were reported of %d", p.plan, len(steps), warmup+c.options.Steps)
			}
			p.rounds = append(p.rounds, steps)
			p.steps = append(p.steps, steps[warmup:]...)
		}
		slices.Reverse(turns)
	}
	return nil
}

// near is by how much a plan may be slower than the best and still be looked at
// again.
const near = 1.08

// finalists are, for every budget, the plan chosen and those that are nearly the
// best.
func (c *comparison) finalists() []*comparedPlan {
	var all []*comparedPlan
	for _, x := range c.choices {
		best := c.best(x.budget)
		for _, p := range c.plans {
			final := p == x.plan || best != nil && p.planned <= x.budget && p.seconds() <= near*best.seconds()
			if final && !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// best is the fastest plan that fits a budget; nil where none does.
func (c *comparison) best(budget int64) *comparedPlan {
	var best *comparedPlan
	for _, p := range c.plans {
		if p.planned <= budget && (best == nil || p.seconds() < best.seconds()) {
			best = p
		}
	}
	return best
}
