package planner

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/simulate"
)

func testCluster() *cluster.Cluster {
	return &cluster.Cluster{
		Name: "test", Hosts: 8, PerHost: 8, Overlap: 1.2,
		Device: cluster.Device{Memory: 80 << 30, Bandwidth: 1e12, Launch: 1e-6, Rates: []cluster.Rate{{PerSecond: 100e12}}},
		Links: []cluster.Link{
			{Name: "near", Span: 8, Latency: 5e-6, Bandwidth: 100e9, Shared: cluster.SharedDevice},
			{Name: "far", Span: 64, Latency: 2e-5, Bandwidth: 12e9, Shared: cluster.SharedHost},
		},
	}
}

// draw draws a problem.
func draw(t *rapid.T) *Options {
	x := synthetic{
		width: rapid.SampledFrom([]int{256, 1024, 4096}).Draw(t, "width"), sequence: 512, vocabulary: 50304, heads: 16,
		blocks: rapid.IntRange(2, 6).Draw(t, "blocks"),
	}
	if rapid.Bool().Draw(t, "unequal") {
		for range x.blocks {
			x.layers = append(x.layers, rapid.IntRange(1, 3).Draw(t, "kind"))
		}
	}
	devices := rapid.SampledFrom([]int{1, 2, 3, 4, 6, 8}).Draw(t, "devices")
	batch := devices * rapid.IntRange(1, 8).Draw(t, "rows")
	memory := int64(x.width*x.width) * int64(rapid.IntRange(200, 20000).Draw(t, "memory"))
	o := x.options(devices, memory, batch)
	if o.Machine.Cluster, _ = testCluster().WithDevices(devices); o.Machine.Cluster == nil {
		t.Fatal("no cluster of so many devices")
	}
	o.Model.Tied = rapid.Bool().Draw(t, "tied")
	return o
}

// TestChoice holds the choice against every plan of one strategy, and against
// what its own evaluation says.
func TestChoice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := draw(t)
		c, err := Choose(context.Background(), o)
		var lacking *InfeasibleError
		switch {
		case errors.As(err, &lacking):
			if lacking.Lacks() <= 0 || lacking.Closest == nil {
				t.Fatalf("nothing fits, but %+v", lacking)
			}
		case err != nil:
			t.Fatal(err)
		default:
			check(t, o, c)
		}
		uniforms(t, o, func(e *Evaluation) {
			if e.Fits() && (c == nil || e.Step < c.Step*(1-1e-9)) {
				if slack := float64(e.Stages[0].Budget) / 1e3; c != nil && !tight(e, int64(slack)) {
					t.Fatalf("%v takes %v, the choice %v %v", e.Plan, e.Step, c.Plan, c.Step)
				}
			}
		})
	})
}

// TestMargin holds the plans of cells within a margin of the best against those
// of a search that looks for the best plan of every cell.
func TestMargin(t *testing.T) {
	const margin = 0.1
	rapid.Check(t, func(t *rapid.T) {
		o := draw(t)
		o.Margin = 1e9
		all, err := Choose(context.Background(), o)
		if err != nil {
			t.Skip(err)
		}
		o.Margin = margin
		some, err := Choose(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]Other{}
		for _, x := range some.Others {
			got[x.Cell.String()] = x
		}
		for _, x := range all.Others {
			y, ok := got[x.Cell.String()]
			switch {
			case x.Lacks > 0 || x.Bound:
			case x.rate() < all.Step/float64(all.Cell.Batch)*(1+margin)*(1-1e-9) && (!ok || y.Bound || math.Abs(y.Step-x.Step) > 1e-9*x.Step):
				t.Fatalf("%v: %+v within the margin, want %v", x.Cell, y, x.Step)
			case ok && y.Step > x.Step*(1+1e-9):
				t.Fatalf("%v: at least %v, want %v", x.Cell, y.Step, x.Step)
			}
		}
	})
}

// TestRelaxed holds a sweep that divides cells into variants only where it must
// against one that has all variants from the beginning.
func TestRelaxed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPricer(draw(t))
		all, err := p.sweep().Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		sweep := p.sweep()
		sweep.Relaxed = p.relaxed
		few, err := sweep.Run(context.Background())
		switch {
		case err != nil:
			t.Fatal(err)
		case (all.Best == nil) != (few.Best == nil):
			t.Fatalf("%+v, of all variants %+v", few.Best, all.Best)
		case all.Best != nil && few.Best.Throughput() != all.Best.Throughput():
			t.Fatalf("%v, of all variants %v", few.Best.Throughput(), all.Best.Throughput())
		case all.Best == nil && (all.Closest == nil) != (few.Closest == nil),
			all.Best == nil && all.Closest != nil && few.Closest.Lacks() != all.Closest.Lacks():
			t.Fatalf("closest %v, of all variants %v", few.Closest, all.Closest)
		}
	})
}

// tight says that a stage is so near its budget that rounding to the search's
// grid may rule it out.
func tight(e *Evaluation, slack int64) bool {
	for _, s := range e.Stages {
		if s.Memory+slack > s.Budget {
			return true
		}
	}
	return false
}

// check wants the choice to be a plan that fits and is what it says.
func check(t *rapid.T, o *Options, c *Choice) {
	if !c.Fits() {
		t.Fatalf("%v does not fit: %+v", c.Plan, c.Stages)
	}
	e, err := Evaluate(o, c.Plan, c.Cell.Batch)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(e.Step-c.Step) > 1e-9*c.Step {
		t.Fatalf("evaluated %v, chosen for %v", e.Step, c.Step)
	}
	text, err := json.Marshal(c.Plan)
	if err != nil {
		t.Fatal(err)
	}
	again := parallel.Default()
	if err := json.Unmarshal(text, again); err != nil {
		t.Fatal(err)
	}
	if again.String() != c.Plan.String() {
		t.Fatalf("%v became %v", c.Plan, again)
	}
	split := e.Split()
	sum := split.Compute + split.Recompute + split.Messages + split.Bubble + split.Reduction + split.Update + split.Fixed
	for _, x := range split.Exchanges {
		sum += x
	}
	if math.Abs(sum-e.Step) > 1e-6*e.Step && split.Bubble > 0 {
		t.Fatalf("the split %+v sums to %v of %v", split, sum, e.Step)
	}
}

// uniforms evaluates every plan with one strategy.
func uniforms(t *rapid.T, o *Options, visit func(*Evaluation)) {
	for _, pp := range o.stages() {
		for _, s := range o.Space.Strategies(pp) {
			for micro := 1; micro <= o.Batches[0]; micro++ {
				for _, schedule := range o.schedules() {
					plan := parallel.Default()
					plan.PP, plan.Micro, plan.Schedule, plan.Strategy = pp, micro, schedule, s
					if plan.Validate(o.Model.Facts, o.Space.Devices, o.Batches[0]) != nil {
						continue
					}
					e, err := Evaluate(o, plan, o.Batches[0])
					if err != nil {
						t.Fatal(err)
					}
					visit(e)
				}
			}
		}
	}
}

// TestCertify certifies choices of small spaces, and finds worse plans out.
func TestCertify(t *testing.T) {
	x := synthetic{width: 1024, sequence: 512, vocabulary: 8192, heads: 16, blocks: 3}
	o := x.options(4, 4<<30, 8)
	c, err := Choose(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := o.Certify(c.Evaluation)
	if err != nil {
		t.Fatal(err)
	}
	if !certificate.Sure || math.Abs(certificate.Gap) > 1e-9 {
		t.Errorf("%v: %+v", c.Plan, certificate)
	}
	worse, err := parallel.Parse("tp=4 micro=8 ckpt=all")
	if err != nil {
		t.Fatal(err)
	}
	e, err := Evaluate(o, worse, 8)
	if err != nil {
		t.Fatal(err)
	}
	if certificate, err = o.Certify(e); err != nil || !certificate.Sure || certificate.Gap < 0.01 {
		t.Errorf("%v: %+v, %v", worse, certificate, err)
	}
}

// TestReport reads the report of a choice.
func TestReport(t *testing.T) {
	x := synthetic{width: 1024, sequence: 512, vocabulary: 8192, heads: 16, blocks: 6}
	o := x.options(8, 2<<30, 16)
	c, err := Choose(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := o.Report(c.Evaluation)
	if err != nil {
		t.Fatal(err)
	}
	var b, svg strings.Builder
	r.WithOthers(c).Write(&b)
	if err := c.WriteSVG(&svg); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + c.Plan.String() + "\n" + b.String())
	for _, want := range []string{"predicted ", "Why these strategies", "in flight", "The next best"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	if !strings.HasPrefix(svg.String(), "<svg") || strings.Contains(svg.String(), "%!") {
		t.Error(svg.String())
	}
}

// TestPlay plays choices and holds the simulator's step against the formula's,
// and its memory.
func TestPlay(t *testing.T) {
	var worst, sum, n float64
	rapid.Check(t, func(t *rapid.T) {
		o := draw(t)
		c, err := Choose(context.Background(), o)
		if err != nil {
			t.Skip()
		}
		played, err := simulate.Measure(o.Job(c.Evaluation))
		if err != nil {
			t.Fatal(err)
		}
		off := played.Step/c.Step - 1
		worst, sum, n = max(worst, math.Abs(off)), sum+math.Abs(off), n+1
		if math.Abs(off) > 0.6 {
			t.Fatalf("%v: played %v, by the formula %v", c.Plan, played.Step, c.Step)
		}
		for i, s := range played.Stages {
			if s.Memory > c.Stages[i].Memory {
				t.Fatalf("%v: stage %d held %d, %d were counted", c.Plan, i, s.Memory, c.Stages[i].Memory)
			}
		}
	})
	t.Logf("mean difference %.2f%%, at most %.2f%%", 100*sum/n, 100*worst)
	if sum/n > 0.1 {
		t.Errorf("formula and simulator are %.1f%% apart in the mean", 100*sum/n)
	}
}
