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
	// Relaxed returns a problem that has the plans of all variants of a cell, and
	// perhaps more: variants of cells that it rules out are never asked for. nil
	// where there is none, or no variants.
	Relaxed func(Cell) (*Problem, error)
	Mode    Mode
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
	var all []Cell
	for _, c := range w.cells() {
		all = append(all, w.variants(c)...)
	}
	return all
}

// cells lists the cells, of each the first variant.
func (w *Sweep) cells() []Cell {
	var cells []Cell
	for _, batch := range w.Batches {
		for _, stages := range w.Stages {
			for micro := 1; micro <= batch; micro++ {
				if batch%micro != 0 || len(w.Micros) > 0 && !slices.Contains(w.Micros, micro) {
					continue
				}
				for i, schedule := range w.Schedules {
					if stages > 1 || i == 0 {
						cells = append(cells, Cell{Batch: batch, Stages: stages, Micro: micro, Schedule: schedule})
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
// the best bound is looked at first: its bound is tightened, then it is divided
// into its variants or solved, until no bound is better than the best plan.
func (w *Sweep) Run() (*Result, error) {
	t := &trial{sweep: w}
	cells := w.cells()
	if w.Relaxed == nil {
		cells = w.Cells()
	}
	if err := t.add(cells, w.Relaxed != nil, 0); err != nil {
		return nil, err
	}
	for len(t.open) > 0 {
		if err := t.next(); err != nil {
			return nil, err
		}
	}
	for _, a := range t.attempts {
		t.Outcomes = append(t.Outcomes, a.Outcome)
	}
	if t.best != nil {
		t.Best = &t.best.Outcome
	}
	return &t.Result, nil
}

// trial is a sweep under way.
type trial struct {
	Result
	sweep    *Sweep
	attempts []*attempt // neither divided nor without a problem
	open     []*attempt // neither solved nor skipped
	best     *attempt
}

// attempt is a cell, or all its variants together.
type attempt struct {
	Outcome
	relaxed bool
	tight   bool // the bound is the solver's
	solver  *Solver
}

// promise returns the rows a second that a cell cannot exceed.
func (a *attempt) promise() float64 { return float64(a.Cell.Batch) / a.Bound }

// add opens cells, of which a bound is known.
func (t *trial) add(cells []Cell, relaxed bool, bound float64) error {
	added := make([]*attempt, len(cells))
	failed := make([]error, len(cells))
	problem := t.sweep.Problem
	if relaxed {
		problem = t.sweep.Relaxed
	}
	parallelDo(len(cells), func(i int) {
		p, err := problem(cells[i])
		if p == nil || err != nil {
			failed[i] = err
			return
		}
		a := &attempt{Outcome: Outcome{Cell: cells[i]}, relaxed: relaxed}
		if a.solver, failed[i] = New(p); failed[i] == nil {
			a.Bound = max(bound, p.floor())
			added[i] = a
		}
	})
	if err := errors.Join(failed...); err != nil {
		return err
	}
	added = slices.DeleteFunc(added, func(a *attempt) bool { return a == nil })
	t.attempts, t.open = append(t.attempts, added...), append(t.open, added...)
	return nil
}

// next takes up the open cell that promises most.
func (t *trial) next() error {
	at := 0
	for k, a := range t.open {
		if a.promise() > t.open[at].promise() {
			at = k
		}
	}
	a := t.open[at]
	if t.best != nil && a.promise() <= t.best.Throughput() {
		t.Skipped, t.open = len(t.open), nil
		return nil
	}
	if !a.tight {
		a.tight, a.Bound = true, max(a.Bound, a.solver.Bound())
		return nil
	}
	t.open = slices.Delete(t.open, at, at+1)
	defer func() { a.solver = nil }() // its fronts are not needed any more
	if a.relaxed {
		return t.divide(a)
	}
	return t.solve(a)
}

// divide opens the variants of a cell. Where none can fit, it does so only if
// one of them may come closer than what is known.
func (t *trial) divide(a *attempt) error {
	if math.IsInf(a.Bound, 1) && t.Closest != nil {
		var lacking *InfeasibleError
		if errors.As(a.solver.infeasible(nil), &lacking) && lacking.Lacks() >= t.Closest.Lacks() {
			return nil
		}
	}
	t.attempts = slices.DeleteFunc(t.attempts, func(b *attempt) bool { return a == b })
	return t.add(t.sweep.variants(a.Cell), false, a.Bound)
}

// solve solves a cell.
func (t *trial) solve(a *attempt) error {
	solution, err := a.solver.Run(t.sweep.Mode)
	switch {
	case errors.As(err, &a.Lacking):
		if t.Closest == nil || a.Lacking.Lacks() < t.Closest.Lacks() {
			t.Closest = a.Lacking
		}
		return nil
	case err != nil:
		return fmt.Errorf("%v: %w", a.Cell, err)
	}
	a.Solution = solution
	if t.best == nil || a.Throughput() > t.best.Throughput() {
		t.best, t.Problem = a, a.solver.problem
	}
	return nil
}
