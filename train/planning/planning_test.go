package planning_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/internal/plantest"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/train/planning"
	"github.com/galvani-ml/galvani/train/program"
)

// machines are of 8 devices.
var machines = &cluster.Cluster{
	Name: "test", Hosts: 2, PerHost: 4, Overlap: 1.3,
	Device: cluster.Device{Memory: 16 << 30, Bandwidth: 5e11, Launch: 5e-6, Rates: []cluster.Rate{{PerSecond: 1e13}}},
	Links: []cluster.Link{
		{Name: "near", Span: 4, Latency: 1e-5, Bandwidth: 2e10, Shared: cluster.SharedDevice},
		{Name: "far", Span: 8, Latency: 2e-5, Bandwidth: 2.5e9, Shared: cluster.SharedHost},
	},
}

// open opens a problem for a model.
func open(t testing.TB, cfg models.Config, seq, workers, batch int) *planning.Problem {
	t.Helper()
	p, err := planning.Open(planning.Request{
		Name: "test", Program: program.Options{Model: cfg, Seq: seq}, Workers: workers, Batches: []int{batch}, Cluster: machines, Checkpoint: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// TestRecompute evaluates random plans from the search's tables and from the
// plans' own compiled stages. Where all layers split the ranks alike, the two are
// nearly equal. Where they do not, the mesh has more axes, and a collective over
// several of them goes axis by axis: over eight ranks of two hosts, first within
// the hosts, which may be faster. The tables do not know of that.
func TestRecompute(t *testing.T) {
	var worst float64
	rapid.Check(t, func(r *rapid.T) {
		plan, batch := plantest.Draw(r)
		workers := plan.Mesh().Size()
		if workers > 4 && workers != 8 {
			r.Skip("hosts have four devices")
		}
		model := rapid.SampledFrom(plantest.Models()).Draw(r, "model")
		p := open(t, model.Config, plantest.Seq, workers, batch)
		if plan.Validate(p.Model.Facts, workers, batch) != nil {
			r.Skip("no plan of this model")
		}
		got, err := planner.Evaluate(p.Options, plan, batch)
		if err != nil {
			r.Fatal(err)
		}
		want, err := p.Recompute(plan, batch)
		if err != nil {
			r.Fatal(err)
		}
		off := got.Step/want.Step - 1
		worst = max(worst, math.Abs(off))
		limit := 0.08
		if n := len(plan.Layers); n > 0 && (plan.Layers[0].Checkpoint || plan.Layers[n-1].Checkpoint) {
			r.Skip("no search checkpoints embedding or head")
		}
		for _, l := range plan.Layers {
			if !slices.Equal(l.Borders(), plan.Layers[0].Borders()) {
				limit = 1
			}
		}
		if math.Abs(off) > limit {
			r.Fatalf("%v: %v from the tables, %v from its own stages (%+.1f%%)", plan, got.Step, want.Step, 100*off)
		}
	})
	t.Logf("at most %.1f%% apart", 100*worst)
}

// TestChoose finds plans that fit when they are compiled, within ever less memory.
func TestChoose(t *testing.T) {
	cfg, err := models.Preset("gpt-micro")
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err = models.WithVocab(cfg, 512); err != nil {
		t.Fatal(err)
	}
	last := 0.0
	for _, memory := range []int64{1 << 30, 80 << 20, 60 << 20, 50 << 20, 45 << 20} {
		p, err := planning.Open(planning.Request{
			Name: "gpt-micro", Program: program.Options{Model: cfg, Seq: 128}, Workers: 4, Batches: []int{32}, Cluster: machines, Checkpoint: true, Memory: memory,
		})
		if err != nil {
			t.Fatal(err)
		}
		found, err := p.Choose(t.Context())
		p.Close()
		if err != nil {
			t.Fatalf("%d: %v", memory, err)
		}
		if found.Largest() > memory || found.Step < last*(1-1e-9) {
			t.Errorf("within %d bytes: %v takes %d, and %v s after %v s", memory, found.Plan, found.Largest(), found.Step, last)
		}
		last = found.Step
		t.Logf("%d MiB: %v, %v s, %d searches, %d bytes", memory>>20, found.Plan, found.Step, found.Rounds, found.Largest())
	}
}

// TestLayers lists what is measured for a search.
func TestLayers(t *testing.T) {
	cfg, err := models.Preset("gpt-micro")
	if err != nil {
		t.Fatal(err)
	}
	r := planning.Request{Program: program.Options{Model: cfg, Seq: 1024}, Workers: 4, Threads: 1, Batches: []int{16}, Cluster: machines}
	o, err := r.Layers(parallel.Strategy{DP: 1, TP: 1, SP: 4, ZeRO: 3})
	if err != nil {
		t.Fatal(err)
	}
	want := []parallel.Strategy{{DP: 1, TP: 1}, {DP: 1, TP: 4}, {DP: 1, TP: 2}, {DP: 1, TP: 1, SP: 4}}
	if len(o.Shapes) != len(want) || len(o.Rows) != 2 || o.Rows[1] != 4 {
		t.Errorf("%v for %v sequences", o.Shapes, o.Rows)
	}
	for _, s := range want {
		found := false
		for _, x := range o.Shapes {
			found = found || x == s
		}
		if !found {
			t.Errorf("%v is not measured", s)
		}
	}
}
