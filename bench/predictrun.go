package bench

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/parallel/simulate"
	training "github.com/galvani-ml/galvani/train"
	launching "github.com/galvani-ml/galvani/train/launch"
	"github.com/galvani-ml/galvani/train/planning"
	profiling "github.com/galvani-ml/galvani/train/profile"
	"github.com/galvani-ml/galvani/train/program"
)

// comparison is a workload under many plans, predicted and run.
type comparison struct {
	options  PredictOptions
	workload predictWorkload
	workers  int
	dir      string             // of the data
	clusters []*cluster.Cluster // what was measured, by round
	times    []*profiling.Layers
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
	rounds    [][]training.Metrics // the steps that count, of those in which the machine was measured
	finals    [][]training.Metrics // and of those of the finalists
}

// counted are the rounds that its prediction is compared with.
func (p *comparedPlan) counted() [][]training.Metrics {
	if len(p.rounds) == 0 {
		return p.finals
	}
	return p.rounds
}

// seconds is the step among finalists, or, before, in the rounds.
func (p *comparedPlan) seconds() float64 {
	if len(p.finals) > 0 {
		return stepOf(fastest(p.finals))
	}
	return stepOf(fastest(p.rounds))
}

// fastest is the round in which a step took least: what else the machine does
// slows it down, for seconds at a time, and never speeds it up.
func fastest(rounds [][]training.Metrics) []training.Metrics {
	return slices.MinFunc(rounds, func(a, b []training.Metrics) int { return cmp.Compare(stepOf(a), stepOf(b)) })
}

// stepOf is the median step of a round.
func stepOf(steps []training.Metrics) float64 { return median(each(steps, stepSeconds)) }

// choice is what the planner chooses within a budget.
type choice struct {
	budget int64
	plan   *comparedPlan
	reason error // why there is none
}

// newComparison prepares the plans of the small space. It is to be closed.
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
	model, err := models.Build(w.Model, models.Options{Batch: 1, Seq: w.Seq, Train: true})
	if err != nil {
		return nil, err
	}
	for _, plan := range somePlans(everyPlan(parallel.FactsOf(model), workers, w.Batch), o.Plans) {
		if _, err := c.add(ctx, plan); err != nil {
			return nil, err
		}
	}
	return c, nil
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
		Seed: seed, Clip: 1, Plan: plan, Precision: "fp32", Device: "auto", Collectives: cmp.Or(c.options.Collectives, string(comm.Auto)),
	}
	if c.workload.Model.Type() == "bert" {
		t.Labels = c.labels()
	}
	return t
}

// measure measures this machine and the layers of the model once more. Nothing of
// it is kept, and nothing that was kept is used.
func (c *comparison) measure(ctx context.Context) error {
	cache := filepath.Join(c.dir, "profiles")
	say := func(_, text string) { c.say("measuring %s", text) }
	o := profiling.Options{Workers: c.workers, Plane: comm.Plane(c.options.Collectives), Fresh: true, Cache: cache, Network: c.options.Network, Window: hardwareWindow, Version: c.options.Version, Say: say}
	if c.options.quick {
		o.Window, o.Largest = time.Millisecond, 16<<10
	}
	hardware, err := profiling.Hardware(ctx, o)
	if err != nil {
		return err
	}
	c.clusters = append(c.clusters, hardware.Cluster)
	r := c.request()
	layers, err := r.Layers()
	if err != nil {
		return err
	}
	layers.Fresh, layers.Cache, layers.Say = true, cache, say
	times, _, err := profiling.MeasureLayers(ctx, layers)
	if err == nil {
		c.times = append(c.times, times)
	}
	return err
}

// hardwareWindow is how long a figure of the machine is measured in each round.
const hardwareWindow = 20 * time.Millisecond

// request is for a plan of the small space, on what was measured so far.
func (c *comparison) request() planning.Request {
	r := planning.Request{
		Name: c.workload.Label, Program: program.Options{Model: c.workload.Model, Seq: c.workload.Seq, Precision: "fp32"},
		Workers: c.workers, Batches: []int{c.workload.Batch}, Cluster: profiling.FastestCluster(c.clusters), Threads: launching.Threads(c.workers),
		Paradigms: predictParadigms, Checkpoint: true, Micros: predictMicros,
	}
	if len(c.times) > 0 {
		r.Times = profiling.FastestLayers(c.times)
	}
	return r
}

// add prepares the trial of a plan, unless it is there.
func (c *comparison) add(ctx context.Context, plan *parallel.Plan) (*comparedPlan, error) {
	text := plan.String()
	for _, p := range c.plans {
		if p.plan.String() == text {
			return p, nil
		}
	}
	trial, err := training.NewTrial(ctx, c.workload.Model, c.config(text), machineWide())
	if err != nil {
		return nil, fmt.Errorf("plan '%s': %w", text, err)
	}
	p := &comparedPlan{plan: plan, trial: trial, planned: trial.Planned()}
	c.plans = append(c.plans, p)
	return p, nil
}

// predict prices and plays a plan.
func (c *comparison) predict(p *comparedPlan) (err error) {
	if p.formula, err = planner.Evaluate(c.problem.Options, p.plan, c.workload.Batch); err == nil {
		p.simulated, err = simulate.Play(c.problem.Job(p.formula))
	}
	if err != nil {
		return fmt.Errorf("plan '%s': %w", p.plan, err)
	}
	return nil
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

// run measures the machine and runs all plans, in turns; then it predicts, has the
// planner choose, and runs those plans again that are chosen or nearly the best,
// which are compared by these rounds alone: the best of many was lucky, too.
func (c *comparison) run(ctx context.Context) (err error) {
	turns := slices.Clone(c.plans)
	for round := range c.options.Rounds {
		if err := c.measure(ctx); err != nil {
			return err
		}
		c.say("round %d of %d, of %s", round+1, c.options.Rounds, plural(len(turns), "plan"))
		if err := c.turns(ctx, turns, func(p *comparedPlan) *[][]training.Metrics { return &p.rounds }); err != nil {
			return err
		}
		slices.Reverse(turns)
	}
	if c.problem, err = planning.Open(c.request()); err != nil {
		return err
	}
	if err := c.choose(ctx); err != nil {
		return err
	}
	for _, p := range c.plans {
		if err := c.predict(p); err != nil {
			return err
		}
	}
	turns = c.finalists()
	for round := range c.options.Rounds {
		c.say("final round %d of %d, of %s", round+1, c.options.Rounds, plural(len(turns), "plan"))
		if err := c.turns(ctx, turns, func(p *comparedPlan) *[][]training.Metrics { return &p.finals }); err != nil {
			return err
		}
		slices.Reverse(turns)
	}
	return nil
}

// turns runs plans one after the other.
func (c *comparison) turns(ctx context.Context, plans []*comparedPlan, to func(*comparedPlan) *[][]training.Metrics) error {
	for _, p := range plans {
		steps, err := p.trial.Run(ctx)
		if err != nil {
			return fmt.Errorf("plan '%s': %w", p.plan, err)
		}
		if len(steps) != warmup+c.options.Steps {
			return fmt.Errorf("plan '%s': %d steps were reported of %d", p.plan, len(steps), warmup+c.options.Steps)
		}
		counted := to(p)
		*counted = append(*counted, steps[warmup:])
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
		best := c.best(x.budget, (*comparedPlan).wasRun)
		for _, p := range c.plans {
			final := p == x.plan || best != nil && p.wasRun() && p.planned <= x.budget && p.seconds() <= near*best.seconds()
			if final && !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

func (p *comparedPlan) wasRun() bool   { return len(p.rounds) > 0 }
func (p *comparedPlan) finalist() bool { return len(p.finals) > 0 }

// best is the fastest plan of some that fits a budget; nil where none does.
func (c *comparison) best(budget int64, of func(*comparedPlan) bool) *comparedPlan {
	var best *comparedPlan
	for _, p := range c.plans {
		if of(p) && p.planned <= budget && (best == nil || p.seconds() < best.seconds()) {
			best = p
		}
	}
	return best
}
