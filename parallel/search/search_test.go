package search

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/galvani-ml/galvani/parallel"
)

// solve solves a problem or fails the test; nil where nothing fits.
func solve(t *testing.T, p *Problem, mode Mode) *Solution {
	t.Helper()
	s, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	solution, err := s.Run(mode)
	var lacking *InfeasibleError
	if err != nil && !errors.As(err, &lacking) {
		t.Fatal(err)
	}
	return solution
}

// TestMonotoneInTheBudget gives problems more memory, on grids chosen and given.
func TestMonotoneInTheBudget(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		p := random(r)
		if seed%2 == 0 {
			p.Grid = 0
		}
		var last *Solution
		for range 6 {
			x := solve(t, p, ModeExact)
			if last != nil && (x == nil || x.Time > last.Time*(1+1e-12)) {
				t.Fatalf("seed %d: budget %v: %+v, with less %v", seed, p.Budget, x, last.Time)
			}
			last = x
			p.Budget = slices.Clone(p.Budget)
			for i := range p.Budget {
				p.Budget[i] += int64(r.IntN(40))
			}
		}
	}
}

// TestRestrictedSpace takes strategies away.
func TestRestrictedSpace(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 3))
		p := random(r)
		p.Grid = int64(r.IntN(2))
		p.Change = nil // the index of a strategy changes
		full := solve(t, p, ModeExact)
		fewer := *p
		fewer.Layers = nil
		kinds := map[*Layer]*Layer{}
		for _, l := range p.Layers {
			if kinds[l] == nil {
				k := &Layer{Name: l.Name, Costs: slices.Clone(l.Costs)}
				for len(k.Costs) > 1 && r.IntN(2) == 0 {
					i := r.IntN(len(k.Costs))
					k.Costs = slices.Delete(k.Costs, i, i+1)
				}
				kinds[l] = k
			}
			fewer.Layers = append(fewer.Layers, kinds[l])
		}
		if x := solve(t, &fewer, ModeExact); x != nil && (full == nil || x.Time < full.Time*(1-1e-12)) {
			t.Fatalf("seed %d: the restricted space has %v, the full one %+v", seed, x.Time, full)
		}
	}
}

// TestProcessors solves with one processor and with several.
func TestProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	w := a100.sweep(transformer{6, 4096, 2048, 50304}, 8, []int{8, 16}, ModeExact)
	var results []*Result
	for _, n := range []int{1, 4} {
		runtime.GOMAXPROCS(n)
		r, err := w.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	if d := cmp.Diff(results[0].Outcomes, results[1].Outcomes); d != "" {
		t.Error(d)
	}
}

// TestSweep compares a sweep with solving every cell, and runs its plan through
// the text form.
func TestSweep(t *testing.T) {
	w := a100.sweep(transformer{6, 8192, 2048, 50304}, 8, []int{4, 6, 8}, ModeExact)
	r, err := w.Run(context.Background())
	if err != nil || r.Best == nil {
		t.Fatal(err, r)
	}
	best := 0.0
	for _, c := range w.Cells() {
		p, err := w.Problem(c)
		if err != nil {
			t.Fatal(err)
		}
		if p == nil {
			continue
		}
		if x := solve(t, p, ModeExact); x != nil {
			best = max(best, float64(c.Batch)/x.Time)
		}
	}
	if r.Best.Throughput() != best {
		t.Errorf("the sweep's best is %v rows/s, the best cell's %v", r.Best.Throughput(), best)
	}
	plan := r.Best.Solution.Plan(r.Problem)
	read, err := parallel.Parse(plan.String())
	if err != nil {
		t.Fatal(plan, err)
	}
	if d := cmp.Diff(plan.String(), read.String()); d != "" {
		t.Error(d)
	}
	t.Log(r.Best.Cell, plan)
}

// TestNothingFits expects the cell that lacks least.
func TestNothingFits(t *testing.T) {
	m := a100
	m.memory = 1 << 30
	small := transformer{8, 12288, 2048, 50304}
	r, err := m.sweep(small, 8, []int{8}, ModeBMW).Run(context.Background())
	if err != nil || r.Best != nil || r.Closest == nil {
		t.Fatal(err, r.Best)
	}
	for _, o := range r.Outcomes {
		if o.Lacking != nil && o.Lacking.Lacks() < r.Closest.Lacks() {
			t.Errorf("%v lacks %d, the closest %d", o.Cell, o.Lacking.Lacks(), r.Closest.Lacks())
		}
	}
	e := r.Closest
	m.memory += e.Lacks()
	again, err := m.sweep(small, 8, []int{8}, ModeExact).Run(context.Background())
	if err != nil || again.Best == nil {
		t.Errorf("with %d bytes more nothing fits either: %v", e.Lacks(), again.Closest)
	}
	t.Log(e)
}

// TestBadProblems expects errors for what is no problem.
func TestBadProblems(t *testing.T) {
	good := func() *Problem {
		l := &Layer{Name: "block", Costs: []Cost{{Time: 1}}}
		return &Problem{Layers: []*Layer{l, l}, Stages: 1, Micro: 1, Budget: []int64{1}, Schedule: parallel.GPipe}
	}
	if _, err := New(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Problem){
		"no stage":       func(p *Problem) { p.Stages = 0 },
		"many stages":    func(p *Problem) { p.Stages = 3 },
		"no block":       func(p *Problem) { p.Before = 2 },
		"no budget":      func(p *Problem) { p.Budget = nil },
		"no schedule":    func(p *Problem) { p.Schedule = "" },
		"hidden":         func(p *Problem) { p.Hidden = 2 },
		"negative extra": func(p *Problem) { p.Last.States = -1 },
		"no cost":        func(p *Problem) { p.Layers[1] = &Layer{} },
		"negative cost":  func(p *Problem) { p.Layers[1] = &Layer{Costs: []Cost{{Time: -1}}} },
		"strategies":     func(p *Problem) { p.Layers[1].Strategies = make([]parallel.Strategy, 2) },
	} {
		p := good()
		spoil(p)
		if _, err := New(p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s, _ := New(good())
	for _, partition := range [][]int{nil, {1}, {1, 1}, {3}} {
		if _, err := s.Solve(partition); err == nil {
			t.Errorf("partition %v: no error", partition)
		}
	}
	if _, err := s.Run("guess"); err == nil {
		t.Error("an unknown mode: no error")
	}
}
