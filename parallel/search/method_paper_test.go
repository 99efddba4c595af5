package search

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/galvani-ml/galvani/parallel"
)

// recurrence is the published dynamic program of one stage, as it is written
// down: "C(l,e,s) = c(l,s) + min_s' [ C(l-1, e - O(l,s), s') + R(l,s',s) ];
// C(0,.) = 0; infeasible = inf." Its time is O(L*E*S^2).
func recurrence(p *Problem, time func(Cost) float64) float64 {
	infinite := math.Inf(1)
	budget := int(p.Budget[0] / p.grid())
	before := [][]float64{slices.Repeat([]float64{0}, budget+1)} // C(0, e), the same for every s
	for l, layer := range p.Layers {
		var now [][]float64
		for s, c := range layer.Costs {
			needs := int((c.States + int64(p.Inflight(0))*c.Activation + p.grid() - 1) / p.grid())
			row := slices.Repeat([]float64{infinite}, budget+1)
			for e := needs; e <= budget; e++ {
				for from := range before {
					change := 0.0
					if l > 0 {
						change = p.change(p.Layers[l-1], from, layer, s)
					}
					row[e] = min(row[e], time(c)+before[from][e-needs]+change)
				}
			}
			now = append(now, row)
		}
		before = now
	}
	best := infinite
	for _, row := range before {
		best = min(best, row[budget])
	}
	return best
}

// "State C(l, e, s): best time of the first l layers of the stage using memory e
// with layer l on strategy s. C(l,e,s) = c(l,s) + min_s' [ C(l-1, e - O(l,s), s')
// + R(l,s',s) ]". Without a backward peak, which the recurrence does not have,
// the search finds the same times on one stage, on a grid of 1 and coarser ones.
func TestPaperRecurrence(t *testing.T) {
	feasible := 0
	for seed := range uint64(1000) {
		p := random(rand.New(rand.NewPCG(seed, 6)))
		p.Stages, p.Micro, p.Budget, p.Shared, p.Fixed, p.First, p.Last = 1, 1, p.Budget[:1], 0, 0, Extra{}, Extra{}
		for _, l := range p.Layers {
			for s := range l.Costs {
				l.Costs[s].Peak = 0
			}
		}
		want := recurrence(p, func(c Cost) float64 { return c.Time + c.Sync })
		x := solve(t, p, ModeExact)
		switch {
		case x == nil && !math.IsInf(want, 1), x != nil && !near(x.Time, want):
			t.Fatalf("seed %d: %+v, by the recurrence %v", seed, x, want)
		case x != nil:
			feasible++
		}
	}
	if feasible < 300 {
		t.Errorf("only %d feasible problems", feasible)
	}
}

// "1 MB grid, per-layer memory rounded UP": two layers of a byte over a cell each
// do not share the rest of their second cells.
func TestPaperRoundedUp(t *testing.T) {
	l := &Layer{Costs: []Cost{{Time: 1, States: 1<<20 + 1}}}
	p := &Problem{Layers: []*Layer{l, l}, Stages: 1, Micro: 1, Schedule: parallel.GPipe, Grid: 1 << 20, Budget: []int64{4<<20 - 1}}
	if p.Memory(0, 0, []int{0, 0}) > 3<<20 || solve(t, p, ModeExact) != nil {
		t.Error("two layers of 1 MiB and a byte fit in less than 4 MiB")
	}
	p.Budget[0]++
	if x := solve(t, p, ModeExact); x == nil || x.Stages[0].Memory != 2<<20+2 {
		t.Errorf("they do not fit in 4 MiB: %+v", x)
	}
}

// "paper: (m-1)*max_i C_nosync(i) + sum_i C_sync(i)", from memory. Ours is never
// more, for reductions of different stages go on at the same time; never less than
// without any reduction; and the same on one stage and where nothing is reduced.
func TestPaperPipelineCost(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 7))
		p := &Problem{Micro: 1 + r.IntN(8), Hidden: r.Float64()}
		stages := make([]Point, 1+r.IntN(6))
		var sum, slowest, reduced float64
		for i := range stages {
			stages[i] = Point{Time: r.Float64(), Sync: r.Float64()}
			sum, slowest, reduced = sum+stages[i].Time, max(slowest, stages[i].Time), reduced+stages[i].Sync
		}
		plain := float64(p.Micro-1)*slowest + sum
		got := p.Score(stages)
		if got > (plain+reduced)*(1+1e-12) || got < plain*(1-1e-12) {
			t.Fatalf("seed %d: %v, the paper's %v, without reductions %v", seed, got, plain+reduced, plain)
		}
		if len(stages) == 1 && !near(got, plain+reduced) {
			t.Fatalf("seed %d: one stage takes %v, want %v", seed, got, plain+reduced)
		}
		for i := range stages {
			stages[i].Sync = 0
		}
		if got := p.Score(stages); !near(got, plain) {
			t.Fatalf("seed %d: %v without reductions, want %v", seed, got, plain)
		}
	}
}

// "Their 1F1B formula since v2.4 ignores middle stages in steady state ... With
// sum + (m-1)*max the SAME plans cost" more or as much: here every stage counts.
func TestPaperMiddleStages(t *testing.T) {
	p := &Problem{Micro: 16}
	for middle := range 3 {
		stages := []Point{{Time: 1}, {Time: 1}, {Time: 1}}
		before := p.Score(stages)
		stages[middle].Time = 2
		if got := p.Score(stages); got != before+1+15 {
			t.Errorf("stage %d is a second slower, the step %v s", middle, got-before)
		}
	}
}

// "Balance degrees alpha_t = 1 - max_i C_i / sum C_i and alpha_m = 1 - max_i O_i /
// sum O_i, each in [0, 1-1/P], larger is more balanced": equal stages have the
// most, and moving something from the fullest stage to another never gives less
// while it stays the fullest. From memory of the paper.
func TestPaperBalanceRange(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 8))
		x := &Solution{Stages: make([]Point, 1+r.IntN(6))}
		most := 1 - 1/float64(len(x.Stages))
		for i := range x.Stages {
			x.Stages[i] = Point{Time: 1, Memory: 7}
		}
		if !near(x.TimeBalance()+1, most+1) || !near(x.MemoryBalance()+1, most+1) {
			t.Fatalf("%d equal stages: %v and %v, want %v", len(x.Stages), x.TimeBalance(), x.MemoryBalance(), most)
		}
		full, least := 0, 0
		for i := range x.Stages {
			x.Stages[i] = Point{Time: r.Float64(), Memory: 1 + r.Int64N(100)}
			if x.Stages[i].Memory > x.Stages[full].Memory {
				full = i
			}
			if x.Stages[i].Memory < x.Stages[least].Memory {
				least = i
			}
		}
		for _, alpha := range []float64{x.TimeBalance(), x.MemoryBalance()} {
			if alpha < 0 || alpha > most*(1+1e-12) {
				t.Fatalf("seed %d: %v is out of [0, %v]", seed, alpha, most)
			}
		}
		before := x.MemoryBalance()
		moved := (x.Stages[full].Memory - x.Stages[least].Memory) / 2
		x.Stages[full].Memory -= moved
		x.Stages[least].Memory += moved
		if x.MemoryBalance() < before {
			t.Fatalf("seed %d: %v after evening out, %v before", seed, x.MemoryBalance(), before)
		}
	}
}

// "accept the new partition into the queue only if (1) no stage exceeds the
// previous max stage time, (2) every stage fits E, (3) its memory balance is no
// worse than p_t's (alpha_m(p') >= alpha_m(p_t)); repeat to exhaustion; keep the
// best". From memory of the paper, and so checked by its effect: what BMW returns
// fits; it is one of the partitions it begins with, or keeps (3) and is no slower
// at its slowest stage than the one it came from; and no move that is left is both
// acceptable and better.
func TestPaperAcceptance(t *testing.T) {
	moved := 0
	for seed := range uint64(600) {
		p := random(rand.New(rand.NewPCG(seed, 9)))
		s, err := New(p)
		if err != nil {
			t.Fatal(err)
		}
		x, err := s.BMW()
		if err != nil || p.Stages == 1 {
			continue
		}
		for i, stage := range x.Stages {
			if stage.Memory > p.budget(i) {
				t.Fatalf("seed %d: stage %d needs %d of %d", seed, i, stage.Memory, p.budget(i))
			}
		}
		least := math.Inf(-1)
		if timed, err := s.Solve(s.TimeBalanced()); err == nil {
			least = timed.MemoryBalance()
		}
		begins := [][]int{s.MemoryBalanced(), s.TimeBalanced(), s.Even()}
		if !slices.ContainsFunc(begins, func(b []int) bool { return slices.Equal(b, x.Partition) }) {
			moved++
			if x.MemoryBalance() < least {
				t.Fatalf("seed %d: %v is accepted with memory balance %v, the time-balanced partition has %v", seed, x.Partition, x.MemoryBalance(), least)
			}
		}
		b := &bmw{solver: s, seen: map[string]bool{}, least: least}
		b.adjust(x)
		if b.best != nil && b.best.Time < x.Time*(1-1e-12) {
			t.Fatalf("seed %d: %v takes %v, a move that is acceptable %v", seed, x.Partition, x.Time, b.best.Time)
		}
	}
	if moved == 0 {
		t.Error("no partition was adjusted")
	}
}

// "the best lies between" the memory-balanced and the time-balanced partition:
// from memory of the paper. On equal layers with activations the optimum's first
// stage has as many layers as one of both, or some number between.
func TestPaperBestLiesBetween(t *testing.T) {
	between := 0
	for budget := int64(30); budget <= 300; budget += 5 {
		l := &Layer{Name: "block", Costs: []Cost{{Time: 1, States: 2, Activation: 5}, {Time: 1.4, States: 2, Activation: 1}}}
		p := &Problem{Layers: slices.Repeat([]*Layer{l}, 24), Stages: 4, Micro: 8, Schedule: parallel.OneFOneB, Budget: []int64{budget}, Grid: 1}
		s, err := New(p)
		if err != nil {
			t.Fatal(err)
		}
		x, err := s.Exact()
		if err != nil {
			continue
		}
		between++
		low, high := s.MemoryBalanced()[0], s.TimeBalanced()[0]
		if x.Partition[0] < low || x.Partition[0] > high {
			t.Errorf("budget %d: %v is not between %v and %v", budget, x.Partition, s.MemoryBalanced(), s.TimeBalanced())
		}
		if bmw, err := s.BMW(); err != nil || bmw.Time < x.Time {
			t.Errorf("budget %d: BMW %+v, %v; exact %v", budget, bmw, err, x.Time)
		}
	}
	if between < 20 {
		t.Errorf("only %d budgets are enough", between)
	}
}

// "v1/v2.0: B = 8,16,... stop at the first infeasible B": here every batch is
// tried, for a larger one may fit again under micro-batches that divide it.
func TestPaperSweepGoesOn(t *testing.T) {
	l := &Layer{}
	w := &Sweep{
		Batches: []int{8, 9, 16}, Stages: []int{1}, Schedules: []parallel.Schedule{parallel.OneFOneB}, Mode: ModeExact,
		Problem: func(c Cell) (*Problem, error) {
			rows := c.Batch / c.Micro
			l := &Layer{Name: l.Name, Costs: []Cost{{Time: float64(rows) + 1, Activation: int64(rows)}}}
			if rows%4 != 0 {
				return nil, nil // only whole fours divide among the ranks
			}
			return &Problem{Layers: []*Layer{l}, Stages: 1, Micro: c.Micro, Schedule: c.Schedule, Budget: []int64{4}}, nil
		},
	}
	r, err := w.Run(context.Background())
	if err != nil || r.Best == nil || r.Best.Cell.Batch != 16 && r.Best.Cell.Batch != 8 {
		t.Fatal(r, err)
	}
	if got, want := r.Best.Throughput(), 4./5; !near(got, want) {
		t.Errorf("%v rows/s, want %v", got, want)
	}
}
