package search

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/galvani-ml/galvani/parallel"
)

// random returns a small problem.
func random(r *rand.Rand) *Problem {
	kinds := make([]*Layer, 1+r.IntN(3))
	for k := range kinds {
		kinds[k] = &Layer{Name: string(rune('a' + k))}
		for range 1 + r.IntN(3) {
			kinds[k].Costs = append(kinds[k].Costs, Cost{
				Time: float64(1+r.IntN(20)) * scale(r), Sync: float64(r.IntN(8)) * scale(r),
				States: int64(r.IntN(30)), Activation: int64(r.IntN(12)), Peak: int64(r.IntN(20)),
				Receive: float64(r.IntN(2)), Send: float64(r.IntN(2)),
			})
		}
	}
	p := &Problem{
		Stages: 1 + r.IntN(3), Micro: 1 + r.IntN(5), Schedule: parallel.Schedules()[r.IntN(2)],
		Grid: []int64{1, 1, 3, 8}[r.IntN(4)], Hidden: []float64{0, 0.6, 1}[r.IntN(3)],
		First: Extra{Time: float64(r.IntN(5)), Sync: float64(r.IntN(3)), States: int64(r.IntN(10)), Activation: int64(r.IntN(4))},
		Last:  Extra{Time: float64(r.IntN(5)), Sync: float64(r.IntN(3)), States: int64(r.IntN(10)), Activation: int64(r.IntN(4))},
	}
	if r.IntN(3) == 0 {
		p.Shared, p.Fixed = float64(r.IntN(5))/2, float64(r.IntN(3))
	}
	p.Before, p.After = r.IntN(2), r.IntN(2)
	n := p.Before + p.After + p.Stages + r.IntN(max(1, 6-p.Before-p.After-p.Stages))
	for range n {
		p.Layers = append(p.Layers, kinds[r.IntN(len(kinds))])
	}
	for range []int{1, p.Stages}[r.IntN(2)] {
		p.Budget = append(p.Budget, int64(20+r.IntN(250)))
	}
	if r.IntN(3) > 0 {
		changes := map[[2]*Layer][3][3]float64{}
		for _, a := range kinds {
			for _, b := range kinds {
				var table [3][3]float64
				for s := range table {
					for t := range table[s] {
						if s != t {
							table[s][t] = float64(r.IntN(6))
						}
					}
				}
				if r.IntN(2) == 0 {
					table[1] = table[0] // a class of two
				}
				changes[[2]*Layer{a, b}] = table
			}
		}
		p.Change = func(from *Layer, s int, to *Layer, t int) float64 { return changes[[2]*Layer{from, to}][s][t] }
	}
	return p
}

// scale is often 1, so that times tie, and sometimes anything.
func scale(r *rand.Rand) float64 {
	if r.IntN(3) > 0 {
		return 1
	}
	return 0.5 + r.Float64()
}

// runs returns a problem of runs of equal layers, longer than those of random.
func runs(r *rand.Rand) *Problem {
	p := random(r)
	p.Stages = min(2, p.Stages)
	p.Budget = []int64{int64(50 + r.IntN(400))}
	a, b := p.Layers[0], p.Layers[len(p.Layers)-1]
	if len(a.Costs) > 2 {
		a.Costs = a.Costs[:2]
	}
	if len(b.Costs) > 2 {
		b.Costs = b.Costs[:2]
	}
	n := 5 + r.IntN(5)
	p.Layers = slices.Concat(slices.Repeat([]*Layer{a}, n), slices.Repeat([]*Layer{b}, 10-n))
	return p
}

func near(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-9*math.Abs(b) }

// TestBruteForce compares fixed partitions and the search over partitions with
// trying everything.
func TestBruteForce(t *testing.T) {
	feasible, uneven, several := 0, 0, 0
	for seed := range uint64(3400) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := random(r)
		if seed >= 3000 {
			p = runs(r)
		}
		s, err := New(p)
		if err != nil {
			t.Fatal(seed, err)
		}
		least, lacks := math.Inf(1), int64(math.MaxInt64)
		for _, partition := range partitions(p.blocks(), p.Stages, 1e6) {
			want, lack := p.brute(partition)
			checkSolution(t, seed, s, want, lack, func() (*Solution, error) { return s.Solve(partition) })
			least, lacks = min(least, want), min(lacks, lack)
		}
		checkSolution(t, seed, s, least, lacks, s.Exact)
		if all, _, ok := p.Brute(1e9); !ok || all != least {
			t.Fatalf("seed %d: all partitions together have %v, %v, want %v", seed, all, ok, least)
		}
		if bound := s.Bound(math.Inf(1)); bound > least*(1+1e-9) {
			t.Fatalf("seed %d: bound %v over the best, %v", seed, bound, least)
		}
		if !math.IsInf(least, 1) {
			checkWithin(t, seed, p, least)
		}
		if !math.IsInf(least, 1) {
			feasible++
			if p.Stages > 1 {
				several++
				if x, err := s.Solve(s.Even()); err != nil || x.Time > least {
					uneven++
				}
			}
		}
	}
	t.Logf("%d feasible, %d of several stages, %d best uneven", feasible, several, uneven)
	if feasible < 2000 {
		t.Errorf("only %d feasible problems", feasible)
	}
}

// checkWithin asks for plans that take less than a limit, a little less and a
// little more than the best.
func checkWithin(t *testing.T, seed uint64, p *Problem, least float64) {
	t.Helper()
	for _, slack := range []float64{0.8, 0.999, 1.001, 1.2} {
		s, err := New(p)
		if err != nil {
			t.Fatal(seed, err)
		}
		limit := slack * least
		if bound := s.Bound(limit); min(bound, limit) > least*(1+1e-9) {
			t.Fatalf("seed %d: bound %v within %v, over the best, %v", seed, bound, limit, least)
		}
		got, err := s.Within(ModeExact, limit)
		switch {
		case err != nil:
			t.Fatal(seed, err)
		case slack < 1 && got != nil:
			t.Fatalf("seed %d: %v within %v, the best takes %v", seed, got.Time, limit, least)
		case slack > 1 && (got == nil || got.Time > least*(1+1e-9)):
			t.Fatalf("seed %d: %+v within %v, the best takes %v", seed, got, limit, least)
		}
	}
}

func checkSolution(t *testing.T, seed uint64, s *Solver, want float64, lacks int64, solve func() (*Solution, error)) {
	t.Helper()
	p := s.problem
	got, err := solve()
	if err != nil {
		var e *InfeasibleError
		if !errors.As(err, &e) || !math.IsInf(want, 1) {
			t.Fatalf("seed %d: %v, want %v", seed, err, want)
		}
		if e.Lacks() > lacks || e.Lacks() <= lacks-p.grid() { // a budget off the grid has a rest
			t.Fatalf("seed %d: lacks %d, want %d", seed, e.Lacks(), lacks)
		}
		return
	}
	if !near(got.Time, want) {
		t.Fatalf("seed %d: %v (%v), want %v", seed, got.Time, got.Partition, want)
	}
	block := 0
	for stage, x := range got.Stages {
		first, count := p.layersOf(stage, block, got.Partition[stage])
		time, sync := p.Times(stage, first, x.Choice)
		if !near(time, x.Time) || !near(sync, x.Sync) || p.Memory(stage, first, x.Choice) != x.Memory || x.Memory > p.budget(stage) || len(x.Choice) != count {
			t.Fatalf("seed %d: stage %d says %+v, is %v %v %d", seed, stage, x, time, sync, p.Memory(stage, first, x.Choice))
		}
		block += got.Partition[stage]
	}
	if !near(p.Score(got.Stages), got.Time) {
		t.Fatalf("seed %d: scores %v, says %v", seed, p.Score(got.Stages), got.Time)
	}
}
