package search

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/galvani-ml/galvani/parallel"
)

// Cell is what a sweep varies beside strategies and partitions.
type Cell struct {
	Batch    int // rows of a step, over all ranks
	Stages   int
	Micro    int
	Schedule parallel.Schedule
	Variant  int // numbers whatever else there is, from 0
}

// String gives the cell as in "batch=64 pp=4 micro=16 1f1b".
func (c Cell) String() string {
	return fmt.Sprintf("batch=%d pp=%d micro=%d %s", c.Batch, c.Stages, c.Micro, c.Schedule)
}

// Admits says that the rows of a micro-batch divide evenly among the ranks of
// the strategy.
func (c Cell) Admits(s parallel.Strategy) bool {
	return c.Batch%(c.Micro*s.Degree(parallel.RoleDP)) == 0
}

// Mode says which partitions are searched.
type Mode string

// The modes.
const (
	ModeEven  Mode = "even"  // [Solver.Even] alone
	ModeBMW   Mode = "bmw"   // [Solver.BMW]
	ModeExact Mode = "exact" // [Solver.Exact]
)

// Run solves a problem in a mode.
func (s *Solver) Run(mode Mode) (*Solution, error) {
	switch mode {
	case ModeEven:
		return s.Solve(s.Even())
	case ModeBMW:
		return s.BMW()
	case ModeExact:
		return s.Exact()
	}
	return nil, fmt.Errorf("search: mode %q: must be one of %v", mode, []Mode{ModeEven, ModeBMW, ModeExact})
}

// Sweep is the cells that are tried.
type Sweep struct {
	Batches   []int
	Stages    []int
	Micros    []int // empty for the divisors of each batch; others are left out
	Schedules []parallel.Schedule
	// Variants returns the number of variants of a cell, 1 where it is nil: what
	// is decided for all layers together, as a strategy that some must share.
	Variants func(Cell) int
	Mode     Mode
	// Problem returns the problem of a cell, with the strategies it admits; nil
	// where there is none, as with more stages than blocks.
	Problem func(Cell) (*Problem, error)
}

// Outcome is what became of a cell.
type Outcome struct {
	Cell     Cell
	Bound    float64          // no plan of the cell is faster, in seconds a step
	Solution *Solution        // nil if there is none or it was not sought
	Lacking  *InfeasibleError // why there is none
}

// Throughput returns rows a second, 0 without a solution.
func (o *Outcome) Throughput() float64 {
	if o.Solution == nil {
		return 0
	}
	return float64(o.Cell.Batch) / o.Solution.Time
}

// Result is what a sweep found.
type Result struct {
	Best     *Outcome // highest throughput; nil where nothing fits
	Problem  *Problem // of the best
	Outcomes []Outcome
	Closest  *InfeasibleError // where nothing fits: the cell that lacks least
	Skipped  int              // cells that could not be the best by their bound
}

// Cells lists the cells, only those whose micro-batches divide the batch. With
// one stage the schedules are one.
func (w *Sweep) Cells() []Cell {
	var cells []Cell
	for _, batch := range w.Batches {
		for _, stages := range w.Stages {
			for micro := 1; micro <= batch; micro++ {
				if batch%micro != 0 || len(w.Micros) > 0 && !slices.Contains(w.Micros, micro) {
					continue
				}
				for i, schedule := range w.Schedules {
					if stages > 1 || i == 0 {
						cells = append(cells, w.variants(Cell{Batch: batch, Stages: stages, Micro: micro, Schedule: schedule})...)
					}
				}
			}
		}
	}
	return cells
}

// variants lists a cell's.
func (w *Sweep) variants(c Cell) []Cell {
	if w.Variants == nil {
		return []Cell{c}
	}
	var all []Cell
	for c.Variant = range w.Variants(c) {
		all = append(all, c)
	}
	return all
}

// Run finds the cell and the plan with the highest throughput. The cell with
// the best bound is looked at first: its bound is tightened, then it is solved,
// until no bound is better than the best plan.
func (w *Sweep) Run() (*Result, error) {
	cells := w.Cells()
	t := &trial{solvers: make([]*Solver, len(cells)), tight: make([]bool, len(cells))}
	t.Outcomes = make([]Outcome, len(cells))
	failed := make([]error, len(cells))
	parallelDo(len(cells), func(i int) {
		t.Outcomes[i] = Outcome{Cell: cells[i], Bound: math.Inf(1)}
		p, err := w.Problem(cells[i])
		if p == nil || err != nil {
			failed[i] = err
			return
		}
		if t.solvers[i], failed[i] = New(p); failed[i] == nil {
			t.Outcomes[i].Bound = p.floor()
		}
	})
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	for i := range cells {
		if t.solvers[i] != nil {
			t.open = append(t.open, i)
		}
	}
	for len(t.open) > 0 {
		if err := t.next(w.Mode); err != nil {
			return nil, err
		}
	}
	return &t.Result, nil
}

// trial is a sweep under way.
type trial struct {
	Result
	solvers []*Solver
	tight   []bool // the bound is the solver's
	open    []int  // cells neither solved nor skipped
}

// promise returns the rows a second that a cell cannot exceed.
func (t *trial) promise(i int) float64 {
	return float64(t.Outcomes[i].Cell.Batch) / t.Outcomes[i].Bound
}

// next takes up the open cell that promises most.
func (t *trial) next(mode Mode) error {
	at := 0
	for k := range t.open {
		if t.promise(t.open[k]) > t.promise(t.open[at]) {
			at = k
		}
	}
	i := t.open[at]
	if t.Best != nil && t.promise(i) <= t.Best.Throughput() {
		t.Skipped, t.open = len(t.open), nil
		return nil
	}
	if !t.tight[i] {
		t.tight[i], t.Outcomes[i].Bound = true, max(t.Outcomes[i].Bound, t.solvers[i].Bound())
		return nil
	}
	t.open = slices.Delete(t.open, at, at+1)
	return t.solve(mode, i)
}

// solve solves a cell.
func (t *trial) solve(mode Mode, i int) error {
	o := &t.Outcomes[i]
	defer func() { t.solvers[i] = nil }() // its fronts are not needed any more
	solution, err := t.solvers[i].Run(mode)
	switch {
	case errors.As(err, &o.Lacking):
		if t.Closest == nil || o.Lacking.Lacks() < t.Closest.Lacks() {
			t.Closest = o.Lacking
		}
		return nil
	case err != nil:
		return fmt.Errorf("%v: %w", o.Cell, err)
	}
	o.Solution = solution
	if t.Best == nil || o.Throughput() > t.Best.Throughput() {
		t.Best, t.Problem = o, t.solvers[i].problem
	}
	return nil
}
