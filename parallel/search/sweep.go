package search

import (
	"context"
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

// Within is Run for a plan that takes less than the limit, in seconds: nil where
// there is none. That costs less than to find out what the best plan takes.
func (s *Solver) Within(mode Mode, limit float64) (*Solution, error) {
	if math.IsInf(limit, 1) {
		return s.Run(mode)
	}
	windows := s.problem.anywhere()
	if mode == ModeEven {
		windows = fixed(s.Even())
	}
	best := s.compose(windows, nil, limit)
	if best == nil || mode != ModeBMW {
		return best, nil
	}
	best, err := s.BMW()
	if err != nil || best.Time >= limit {
		return nil, err
	}
	return best, nil
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
	// where there is none, or no variants. Plans with one strategy for all layers,
	// but for checkpoints, must be plans of variants.
	Relaxed func(Cell) (*Problem, error)
	// Margin is how much longer than the best, as a share, the best plan of a cell
	// may take and still be sought, for comparison.
	Margin float64
	// After is what the same sweep found with more memory, or faster layers: what no
	// plan took less than, none takes now. nil where there is none.
	After *Result
	Mode  Mode
	// Problem returns the problem of a cell, with the strategies it admits; nil
	// where there is none, as with more stages than blocks.
	Problem func(Cell) (*Problem, error)
}

// Outcome is what became of a cell.
type Outcome struct {
	Cell     Cell
	Bound    float64          // no plan of the cell is faster, in seconds a step
	Solution *Solution        // nil if there is none, none better than the best then, or it was not sought
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

	bounds map[boundKey]float64
}

// boundKey identifies what a bound is of: a cell, or all its variants.
type boundKey struct {
	Cell
	relaxed bool
}

// Cells lists the cells, only those whose micro-batches divide the batch. With
// one stage the schedules are one.
func (w *Sweep) Cells() []Cell {
	var all []Cell
	for _, c := range w.Undivided() {
		all = append(all, w.variants(c)...)
	}
	return all
}

// Undivided lists the cells, of each the first variant.
func (w *Sweep) Undivided() []Cell {
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
// into its variants or solved, until no bound is better than the best plan. Plans
// of one strategy are a first limit to what is worth a look.
func (w *Sweep) Run(ctx context.Context) (*Result, error) {
	t := &trial{sweep: w, context: ctx, times: map[Cell]float64{}}
	err := t.run()
	if err == nil && t.best == nil && t.known > 0 { // rounded up to the grid that plan does not fit
		t = &trial{sweep: w, context: ctx, times: map[Cell]float64{}, blind: true}
		err = t.run()
	}
	if err != nil {
		return nil, err
	}
	t.finish()
	return &t.Result, nil
}

// trial is a sweep under way.
type trial struct {
	Result
	sweep    *Sweep
	context  context.Context
	attempts []*attempt // neither divided nor without a problem
	open     []*attempt // neither solved nor skipped
	best     *attempt
	divided  []*attempt
	known    float64          // rows a second that a plan has, whether it was found or not
	blind    bool             // known is not used
	times    map[Cell]float64 // of the best plans of cells, whatever the variant
}

// run looks at cells until no open one can be the best.
func (t *trial) run() error {
	cells := t.sweep.Undivided()
	if t.sweep.Relaxed == nil {
		cells = t.sweep.Cells()
	}
	if err := t.add(cells, nil); err != nil {
		return err
	}
	for len(t.open) > 0 {
		if t.context.Err() != nil {
			return context.Cause(t.context)
		}
		if err := t.next(); err != nil {
			return err
		}
	}
	return nil
}

// finish fills the result.
func (t *trial) finish() {
	t.bounds = map[boundKey]float64{}
	for _, a := range slices.Concat(t.divided, t.attempts) {
		t.bounds[a.key()] = a.Bound
		if a.Solution != nil {
			t.bounds[a.key()] = max(a.Bound, a.Solution.Time)
		}
	}
	for _, a := range t.attempts {
		t.Outcomes = append(t.Outcomes, a.Outcome)
	}
	if t.best != nil {
		t.Best = &t.best.Outcome
	}
}

// attempt is a cell, or all its variants together.
type attempt struct {
	Outcome
	relaxed bool
	tight   bool // the bound is the solver's
	exact   bool // the bound is that of the best plan of all variants, or of them none is the best
	solver  *Solver
}

func (a *attempt) key() boundKey { return boundKey{a.Cell, a.relaxed} }

// promise returns the rows a second that a cell cannot exceed.
func (a *attempt) promise() float64 { return float64(a.Cell.Batch) / a.Bound }

// add opens cells, those of a sweep or the variants of one.
func (t *trial) add(cells []Cell, of *attempt) error {
	added := make([]*attempt, len(cells))
	alike := make([]float64, len(cells)) // rows a second with one strategy
	failed := make([]error, len(cells))
	problem, solver, bound := t.sweep.Problem, New, 0.0
	relaxed := of == nil && t.sweep.Relaxed != nil
	switch {
	case relaxed:
		problem = t.sweep.Relaxed
	case of != nil:
		solver, bound = of.solver.With, of.Bound
	}
	parallelDo(len(cells), func(i int) {
		if t.context.Err() != nil {
			return
		}
		p, err := problem(cells[i])
		if p == nil || err != nil {
			failed[i] = err
			return
		}
		a := &attempt{Outcome: Outcome{Cell: cells[i]}, relaxed: relaxed, exact: of != nil && of.exact}
		if a.solver, failed[i] = solver(p); failed[i] == nil {
			a.Bound = max(bound, p.floor())
			if t.sweep.After != nil {
				a.Bound = max(a.Bound, t.sweep.After.bounds[a.key()])
			}
			added[i], alike[i] = a, float64(a.Cell.Batch)/p.alike(a.solver.Even())
		}
	})
	if err := errors.Join(failed...); err != nil {
		return err
	}
	if !t.blind {
		t.known = max(t.known, slices.Max(append(alike, 0))*(1-1e-9))
	}
	added = slices.DeleteFunc(added, func(a *attempt) bool { return a == nil })
	t.attempts, t.open = append(t.attempts, added...), append(t.open, added...)
	return nil
}

// next takes up an open cell.
func (t *trial) next() error {
	at := t.promising(t.hopeful)
	if at < 0 {
		t.Skipped, t.open = len(t.open), nil
		return nil
	}
	if t.best == nil { // until there is a plan, variants of a cell go first
		if i := t.promising(func(a *attempt) bool { return a.exact && t.hopeful(a) }); i >= 0 {
			at = i
		}
	}
	a := t.open[at]
	if !a.tight {
		limit := t.limit(a.Cell)
		a.tight, a.Bound = true, max(a.Bound, min(a.solver.Bound(limit), limit))
		return nil
	}
	if a.relaxed && !a.exact && !math.IsInf(t.limit(a.Cell), 1) {
		return t.prove(a)
	}
	t.open = slices.Delete(t.open, at, at+1)
	defer func() { a.solver = nil }() // its fronts are not needed any more
	if a.relaxed {
		return t.divide(a)
	}
	return t.solve(a)
}

// promising returns the open cell that promises most of those that are kept, -1
// where there is none.
func (t *trial) promising(kept func(*attempt) bool) int {
	at := -1
	for k, a := range t.open {
		if kept(a) && (at < 0 || a.promise() > t.open[at].promise()) {
			at = k
		}
	}
	return at
}

// hopeful says that a cell may have a plan that is sought.
func (t *trial) hopeful(a *attempt) bool {
	limit := t.limit(a.Cell)
	return math.IsInf(limit, 1) || a.Bound < limit*(1-slight)
}

// limit returns the seconds that a plan of a cell must take less than to be
// sought: to be the best, within the margin, and the best of its cell.
func (t *trial) limit(c Cell) float64 {
	limit := float64(c.Batch) / t.rate() * (1 + t.sweep.Margin)
	c.Variant = 0
	if time, ok := t.times[c]; ok {
		limit = min(limit, time)
	}
	return limit
}

// rate returns the most rows a second that a plan is known to have, 0 where none
// is.
func (t *trial) rate() float64 {
	if t.best == nil {
		return t.known
	}
	return max(t.known, t.best.Throughput())
}

// prove finds the best plan of all variants of a cell and perhaps more, or that
// none is the best.
func (t *trial) prove(a *attempt) error {
	a.exact = true
	limit := t.limit(a.Cell)
	best, err := a.solver.Within(ModeExact, limit)
	switch {
	case err != nil:
		return fmt.Errorf("%v: %w", a.Cell, err)
	case best != nil:
		limit = best.Time
	}
	a.Bound = max(a.Bound, limit)
	return nil
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
	t.divided = append(t.divided, a)
	return t.add(t.sweep.variants(a.Cell), a)
}

// solve solves a cell.
func (t *trial) solve(a *attempt) error {
	limit := t.limit(a.Cell)
	solution, err := a.solver.Within(t.sweep.Mode, limit)
	switch {
	case errors.As(err, &a.Lacking):
		if t.Closest == nil || a.Lacking.Lacks() < t.Closest.Lacks() {
			t.Closest = a.Lacking
		}
		return nil
	case err != nil:
		return fmt.Errorf("%v: %w", a.Cell, err)
	}
	if solution == nil {
		a.Bound = max(a.Bound, limit)
		return nil
	}
	a.Solution = solution
	cell := a.Cell
	cell.Variant = 0
	t.times[cell] = solution.Time
	if t.best == nil || a.Throughput() > t.best.Throughput() {
		t.best, t.Problem = a, a.solver.problem
	}
	return nil
}
