package planner

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/search"
)

// small returns a problem whose plans can all be tried: few blocks, of which some
// are larger, on 1 to 4 devices, on a cluster of two hosts. So small that memory is
// counted to the byte.
func small(r *rand.Rand) *Options {
	x := synthetic{width: 1 + r.IntN(2), sequence: 8, vocabulary: 8, heads: 4, blocks: 1 + r.IntN(3)}
	if r.IntN(2) == 0 {
		for range x.blocks {
			x.layers = append(x.layers, 1+r.IntN(3))
		}
	}
	devices := []int{2, 2, 3, 4, 4}[r.IntN(5)]
	batches := []int{devices * (1 + r.IntN(3))}
	o := x.options(devices, int64(math.Pow(10, 3.7+1.6*r.Float64())), batches...)
	o.Model.Tied = r.IntN(3) == 0
	o.Machine.Cluster = twoHosts(r, devices)
	o.Space.Checkpoint = devices == 2 || r.IntN(2) == 0
	if r.IntN(4) == 0 {
		o.Space.Paradigms = []search.Paradigm{search.DP, search.SDP, search.TP, search.ZeRO1}
		o.Space.OneOrder = true
	}
	if r.IntN(4) == 0 {
		o.AtOnce = 1 + r.Float64()
	}
	o.Fixed = float64(r.IntN(2)) * 1e-5
	return o
}

// twoHosts are devices so slow that such layers take something.
func twoHosts(r *rand.Rand, devices int) *cluster.Cluster {
	c := testCluster()
	c.Hosts, c.PerHost = 1, devices
	c.Device.Rates[0].PerSecond = 1e9
	c.Device.Bandwidth = 1e10
	c.Links = []cluster.Link{{Name: "near", Span: devices, Latency: 1e-7, Bandwidth: math.Pow(10, 7+3*r.Float64()), Shared: cluster.SharedDevice}}
	if devices%2 == 0 {
		c.Hosts, c.PerHost, c.Links[0].Span = 2, devices/2, devices/2
		c.Links = append(c.Links, cluster.Link{Name: "far", Span: devices, Latency: 1e-6, Bandwidth: math.Pow(10, 6+3*r.Float64()), Shared: cluster.SharedHost})
		if devices == 2 {
			c.Links = c.Links[1:]
		}
	}
	return c
}

// choose is Choose, nil where nothing fits.
func choose(t *testing.T, o *Options) *Choice {
	t.Helper()
	c, err := Choose(context.Background(), o)
	var lacking *InfeasibleError
	var none *NoStrategyError
	if err != nil && !errors.As(err, &lacking) && !errors.As(err, &none) {
		t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return c
}

func (o *Options) rate(c *Choice) float64 {
	if c == nil {
		return 0
	}
	return float64(c.Cell.Batch) / c.Step
}

// everyPlan visits every plan of a space: each layer with each strategy, each
// partition, each number of micro-batches, each schedule. It knows the search's
// cells and problems not at all.
func everyPlan(o *Options, batch int, visit func(*parallel.Plan)) {
	blocks := o.Model.Blocks()
	for pp := 1; pp <= min(blocks, o.Space.Devices); pp++ {
		if o.Space.Devices%pp != 0 {
			continue
		}
		strategies := o.Space.Strategies(pp)
		for _, stages := range divisions(blocks, pp) {
			plan := parallel.Default()
			plan.PP, plan.Stages = pp, stages
			layered(plan, strategies, blocks+2, func() {
				if o.Model.Tied && plan.Layers[0] != plan.Layers[blocks+1] {
					return
				}
				for plan.Micro = 1; plan.Micro <= batch; plan.Micro++ {
					for _, plan.Schedule = range o.schedules() {
						if (pp > 1 || plan.Schedule == parallel.OneFOneB) && plan.Validate(o.Model.Facts, o.Space.Devices, batch) == nil {
							visit(plan)
						}
					}
				}
			})
		}
	}
}

// divisions lists the ways to write blocks as a sum of so many stages.
func divisions(blocks, stages int) [][]int {
	if stages == 1 {
		return [][]int{{blocks}}
	}
	var all [][]int
	for n := 1; n < blocks; n++ {
		for _, rest := range divisions(blocks-n, stages-1) {
			all = append(all, append([]int{n}, rest...))
		}
	}
	return all
}

// layered gives the layers from some on every strategy; embedding and head are
// not checkpointed.
func layered(plan *parallel.Plan, strategies []parallel.Strategy, layers int, visit func()) {
	l := len(plan.Layers)
	if l == layers {
		visit()
		return
	}
	for _, s := range strategies {
		if s.Checkpoint && (l == 0 || l == layers-1) {
			continue
		}
		plan.Layers = append(plan.Layers, s)
		layered(plan, strategies, layers, visit)
		plan.Layers = plan.Layers[:l]
	}
}

// "optimum equals brute force on small cases": the choice is as fast as the
// fastest of all plans that fit, each evaluated by itself, and nothing fits where
// none does.
func TestChoiceIsTheBestPlan(t *testing.T) {
	tried, feasible, mixed, piped := 0, 0, 0, 0
	for seed := range uint64(120) {
		o := small(rand.New(rand.NewPCG(seed, 1)))
		if n := len(o.Space.Strategies(1)); math.Pow(float64(n), float64(o.Model.Blocks())) > 40 {
			continue // too many to try
		}
		p := newPricer(o)
		least := math.Inf(1)
		everyPlan(o, o.Batches[0], func(plan *parallel.Plan) {
			e, err := p.evaluate(plan, o.Batches[0])
			if err != nil {
				t.Fatal(seed, plan, err)
			}
			tried++
			if e.Step < float64(plan.Micro)*slowest(e)*(1-1e-12) {
				t.Fatalf("seed %d: %v scores %v, %d times its slowest stage is %v", seed, plan, e.Step, plan.Micro, float64(plan.Micro)*slowest(e))
			}
			if e.Fits() {
				least = min(least, e.Step)
			}
		})
		c := choose(t, o)
		switch {
		case c == nil && !math.IsInf(least, 1):
			t.Fatalf("seed %d: no choice, a plan takes %v", seed, least)
		case c != nil && math.Abs(c.Step-least) > 1e-9*least:
			t.Fatalf("seed %d: the choice %v takes %v, the best plan %v", seed, c.Plan, c.Step, least)
		case c != nil:
			feasible++
			strategies := c.Plan.LayerStrategies(o.Model.Facts)
			if len(slices.Compact(slices.Clone(strategies))) > 1 {
				mixed++
			}
			if c.Plan.PP > 1 {
				piped++
			}
		}
	}
	t.Logf("%d plans of %d feasible problems; the best has several strategies in %d, stages in %d", tried, feasible, mixed, piped)
	if feasible < 20 || mixed == 0 {
		t.Errorf("%d feasible problems, %d of mixed plans", feasible, mixed)
	}
}

func slowest(e *Evaluation) float64 {
	t := 0.0
	for _, s := range e.Stages {
		t = max(t, s.Time)
	}
	return t
}

// The same on more problems, cell by cell, by the search's brute force,
// which shares no code with the search but what a cell is.
func TestChoiceIsTheBestCell(t *testing.T) {
	feasible, piped := 0, 0
	for seed := range uint64(1200) {
		o := small(rand.New(rand.NewPCG(seed, 2)))
		p := newPricer(o)
		w := &search.Sweep{
			Batches: o.Batches, Stages: o.stages(), Schedules: o.schedules(), Variants: func(c search.Cell) int { return len(p.variants(c)) },
		}
		best := 0.0
		for _, cell := range w.Cells() {
			problem, err := p.problem(cell)
			if err != nil {
				t.Fatal(seed, err)
			}
			if problem == nil {
				continue
			}
			least, _, ok := problem.Brute(5000)
			if !ok {
				best = math.NaN() // too many to try
				break
			}
			best = max(best, float64(cell.Batch)/least)
		}
		if math.IsNaN(best) {
			continue
		}
		c := choose(t, o)
		if got := o.rate(c); math.Abs(got-best) > 1e-9*best {
			t.Fatalf("seed %d: the choice runs %v rows/s, the best cell %v", seed, got, best)
		}
		if c != nil {
			feasible++
			piped += min(1, c.Plan.PP-1)
		}
	}
	t.Logf("%d feasible problems, %d with several stages at best", feasible, piped)
	if feasible < 400 || piped == 0 {
		t.Errorf("only %d feasible problems, %d with several stages", feasible, piped)
	}
}

// "monotone in budget (theirs fails)".
func TestPaperMonotone(t *testing.T) {
	several := 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 3))
		o := small(r)
		before := 0.0
		o.Memory /= 2
		for range 6 {
			now := o.rate(choose(t, o))
			if now < before*(1-1e-9) {
				t.Fatalf("seed %d: %d bytes give %v rows/s, less gave %v", seed, o.Memory, now, before)
			}
			if before > 0 && now > before*(1+1e-9) {
				several++
			}
			before = now
			o.Memory += int64(r.Float64() * float64(o.Memory))
		}
	}
	if several < 30 {
		t.Errorf("memory made a plan faster %d times", several)
	}
}

// "restricted spaces never beat the full space", and neither does any way to
// search less: one strategy for all layers, one schedule, even stages, BMW's.
func TestPaperRestricted(t *testing.T) {
	worse := map[string]int{}
	for seed := range uint64(400) {
		o := small(rand.New(rand.NewPCG(seed, 4)))
		full := o.rate(choose(t, o))
		rates := map[string]float64{}
		for name, restrict := range map[string]func(*Options){
			"dp alone":         func(o *Options) { o.Space.Paradigms = []search.Paradigm{search.DP} },
			"sdp alone":        func(o *Options) { o.Space.Paradigms = []search.Paradigm{search.SDP} },
			"tp alone":         func(o *Options) { o.Space.Paradigms = []search.Paradigm{search.TP} },
			"no pipeline":      func(o *Options) { o.Stages = []int{1} },
			"no checkpointing": func(o *Options) { o.Space.Checkpoint = false },
			"gpipe":            func(o *Options) { o.Schedules = []parallel.Schedule{parallel.GPipe} },
			"one micro-batch":  func(o *Options) { o.Micros = []int{1} },
			"uniform":          func(o *Options) { o.Uniform = true },
			"bmw":              func(o *Options) { o.Mode = search.ModeBMW },
			"even":             func(o *Options) { o.Mode = search.ModeEven },
		} {
			x := *o
			restrict(&x)
			rates[name] = o.rate(choose(t, &x))
			if rates[name] > full*(1+1e-9) {
				t.Fatalf("seed %d: %s has %v rows/s, the full space %v", seed, name, rates[name], full)
			}
			if rates[name] < full*(1-1e-9) {
				worse[name]++
			}
		}
		if rates["even"] > rates["bmw"]*(1+1e-9) {
			t.Fatalf("seed %d: even stages have %v rows/s, BMW %v", seed, rates["even"], rates["bmw"])
		}
	}
	t.Logf("problems of 400 where it was worse: %v", worse)
	for _, name := range []string{"dp alone", "no checkpointing", "uniform", "even"} {
		if worse[name] == 0 {
			t.Errorf("%s never was worse", name)
		}
	}
}

// "plan round-trips through JSON", and takes then what it took.
func TestPaperPlanSurvivesJSON(t *testing.T) {
	for seed := range uint64(300) {
		o := small(rand.New(rand.NewPCG(seed, 5)))
		c := choose(t, o)
		if c == nil {
			continue
		}
		text, err := json.Marshal(c.Plan)
		if err != nil {
			t.Fatal(err)
		}
		again := parallel.Default()
		if err := json.Unmarshal(text, again); err != nil {
			t.Fatal(err)
		}
		read, err := parallel.Parse(c.Plan.String())
		if err != nil {
			t.Fatal(err)
		}
		for _, plan := range []*parallel.Plan{again, read} {
			e, err := Evaluate(o, plan, c.Cell.Batch)
			if err != nil || plan.String() != c.Plan.String() || math.Abs(e.Step-c.Step) > 1e-9*c.Step || !e.Fits() {
				t.Fatalf("seed %d: %v became %v: %v", seed, c.Plan, plan, err)
			}
		}
	}
}

// "(f) R inflated and unscored": here a change of layout takes what its exchanges
// take, in the search and in the score. Between tp=2 and dp=2 that is an all-gather
// of [b, s, h] over both ranks: nothing forward, where a rank has all rows already
// and takes its half, and the gather backward. Published: (T-1)/T * lbsz(T) * s * h
// bytes, which are those that the ring moves.
func TestPaperLayoutChange(t *testing.T) {
	x := synthetic{width: 64, sequence: 16, vocabulary: 64, heads: 4, blocks: 4}
	o := x.options(2, 1<<40, 8)
	o.Machine.Cluster = &cluster.Cluster{
		Name: "ring", Hosts: 1, PerHost: 2, Overlap: 1, Device: cluster.Device{Bandwidth: 1e12, Rates: []cluster.Rate{{PerSecond: 1e12}}},
		Links: []cluster.Link{{Name: "ring", Span: 2, Bandwidth: 1e9, Shared: cluster.SharedDevice}},
	}
	evaluate := func(text string) *Evaluation {
		plan, err := parallel.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Evaluate(o, plan, 8)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	const micro = 2
	mixed := evaluate("layers=0-2:dp=2;3-5:tp=2 micro=2")
	var layers, once, changes float64
	for _, l := range mixed.Layers {
		layers, once, changes = layers+l.Price.Time(), once+l.Price.Sync(), changes+l.Change
	}
	whole := float64(8/micro) * 16 * 64 * 4 // bytes of [b, s, h] of both ranks
	if want := whole / 2 / 1e9; math.Abs(changes-want) > 1e-12 || mixed.Layers[3].Change != changes {
		t.Errorf("changes take %v s a micro-batch, want %v: %+v", changes, want, mixed.Layers)
	}
	if want := micro*(layers+changes) + once; math.Abs(mixed.Step-want) > 1e-9*want {
		t.Errorf("the step takes %v s, layers and changes %v", mixed.Step, want)
	}
	if e := evaluate("dp=2 micro=2"); slices.ContainsFunc(e.Layers, func(l Layer) bool { return l.Change != 0 }) {
		t.Error("a plan of one strategy changes layouts")
	}
	for _, same := range []string{"layers=0:dp=2;1-2:dp=2,zero=3;3-4:dp=2,zero=3,ckpt=all;5:dp=2", "layers=0-1:dp=2;2-4:dp=2,ckpt=all;5:dp=2"} {
		if e := evaluate(same); slices.ContainsFunc(e.Layers, func(l Layer) bool { return l.Change != 0 }) {
			t.Errorf("%s: ZeRO and checkpointing change layouts", same)
		}
	}
}

// Takeaway 1: "PP between device islands (least traffic)". Two hosts of four, with
// little bandwidth between them: no plan for a model that fits a host's devices in
// stages sends anything else across.
func TestPaperIslands(t *testing.T) {
	x := synthetic{width: 2048, sequence: 512, vocabulary: 8192, heads: 16, blocks: 8}
	o := x.options(8, 80<<30, 64)
	o.Machine.Cluster.Hosts, o.Machine.Cluster.PerHost = 2, 4
	o.Machine.Cluster.Links[0].Span, o.Machine.Cluster.Links[1].Span, o.Machine.Cluster.Links[1].Bandwidth = 4, 8, 1e8
	c := choose(t, o)
	if c == nil || c.Plan.PP < 2 {
		t.Fatalf("%+v", c)
	}
	for _, l := range c.Layers {
		for _, e := range l.Price.Exchanges {
			if e.Group.Ranks*e.Group.Stride > 4 {
				t.Errorf("%v: %s of %v crosses hosts", c.Plan, e.Kind, l.Name)
			}
		}
	}
}

// Takeaway 3: "SDP only is at least as good" as DP and SDP in one tree: in memory,
// for which such trees would be. Of all strategies of 8 ranks none holds less than
// SDP alone.
func TestPaperSDPHoldsLeast(t *testing.T) {
	x := synthetic{width: 64, sequence: 16, vocabulary: 64, heads: 8, blocks: 4}
	least := int64(math.MaxInt64)
	var at parallel.Strategy
	for _, s := range (&search.Space{Devices: 8}).Strategies(1) {
		w, err := x.Work(1, s, 1, 8)
		if err != nil {
			t.Fatal(err)
		}
		if s.TP == 1 && w.States < least {
			least, at = w.States, s
		}
	}
	if at.ZeRO != 3 || at.DP != 8 {
		t.Errorf("%v holds least", at)
	}
}

// "GPipe vs 1F1B is a user option, not searched": here it is, and the better one
// is found.
func TestPaperSchedules(t *testing.T) {
	x := synthetic{width: 1024, sequence: 512, vocabulary: 8192, heads: 16, blocks: 8}
	o := x.options(4, 8<<30, 16)
	o.Stages = []int{4}
	both := choose(t, o)
	for _, s := range parallel.Schedules() {
		alone := *o
		alone.Schedules = []parallel.Schedule{s}
		if c := choose(t, &alone); both == nil || c != nil && c.Step < both.Step*(1-1e-9) {
			t.Errorf("%s alone: %+v, both %+v", s, c, both)
		}
	}
}

// "Refuse indivisible cells": "B=48, m=16, dp=2 costs 32 of 48 samples and 'wins' a
// sweep". No choice leaves samples out.
func TestPaperIndivisible(t *testing.T) {
	x := synthetic{width: 256, sequence: 64, vocabulary: 512, heads: 16, blocks: 4}
	for _, batch := range []int{6, 12, 48, 50} {
		o := x.options(8, 1<<40, batch)
		c := choose(t, o)
		if c == nil {
			continue
		}
		for _, l := range c.Layers {
			if batch%(c.Plan.Micro*l.Strategy.DP) != 0 {
				t.Errorf("batch %d: %v", batch, c.Plan)
			}
		}
	}
	wrong, err := parallel.Parse("pp=4 dp=2 micro=16")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Evaluate(x.options(8, 1<<40, 48), wrong, 48); err == nil {
		t.Error("batch 48 in 16 micro-batches on 2 replicas has a price")
	}
}
