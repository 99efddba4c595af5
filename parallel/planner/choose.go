package planner

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/search"
)

// Choice is the plan found, with what was left for it.
type Choice struct {
	*Evaluation
	Cell search.Cell
	// Others are the best of other cells and their plans' times, best first. Where
	// a cell could not be better by its bound, no plan of it was sought.
	Others []Other
	// Cells counts those of the sweep, Skipped those whose bound ruled them out.
	Cells, Skipped int
}

// Other is a cell of the sweep that was not chosen.
type Other struct {
	Cell  search.Cell
	Step  float64 // seconds of its best plan, or of the closest where none fits
	Bound bool    // Step is a bound, no plan is faster: none was sought
	Lacks int64   // bytes on the stage that lacks most, where nothing fits
}

// Choose finds the plan with the highest throughput, or returns an
// [*InfeasibleError].
func Choose(ctx context.Context, o *Options) (*Choice, error) {
	s, err := NewSearch(o)
	if err != nil {
		return nil, err
	}
	if err := s.Price(ctx); err != nil {
		return nil, err
	}
	return s.Choose(ctx, o.Memory)
}

// Search searches within one budget after another, each smaller than the one
// before, and keeps what does not depend on it.
type Search struct {
	pricer *pricer
	after  *search.Result
}

// NewSearch prepares a search.
func NewSearch(o *Options) (*Search, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	own := *o
	return &Search{pricer: newPricer(&own)}, nil
}

// Price prices the layers of all cells, on all processors. Without it Choose does
// so when it needs them, one stage degree after the other.
func (s *Search) Price(ctx context.Context) error {
	return s.pricer.priceAll(ctx, s.pricer.sweep().Undivided())
}

// Choose is the function Choose within so many bytes a rank, at most those of the
// search before.
func (s *Search) Choose(ctx context.Context, memory int64) (*Choice, error) {
	p := s.pricer
	if memory > p.Memory {
		return nil, fmt.Errorf("planner: a search within %d bytes after one within %d: budgets must not rise", memory, p.Memory)
	}
	p.Memory = memory
	if err := p.check(); err != nil {
		return nil, err
	}
	sweep := p.sweep()
	sweep.After = s.after
	if !p.Uniform {
		sweep.Relaxed = p.relaxed
	}
	result, err := sweep.Run(ctx)
	if err != nil {
		return nil, err
	}
	s.after = result
	if result.Best == nil {
		return nil, p.infeasible(result)
	}
	plan := p.plan(result.Best.Cell, result.Problem, result.Best.Solution)
	e, err := p.evaluate(plan, result.Best.Cell.Batch)
	if err != nil {
		return nil, err
	}
	c := &Choice{Evaluation: e, Cell: result.Best.Cell, Cells: len(result.Outcomes), Skipped: result.Skipped}
	c.Others = p.others(result)
	return c, nil
}

// sweep is the search of all cells.
func (p *pricer) sweep() *search.Sweep {
	return &search.Sweep{
		Batches: p.Batches, Stages: p.stages(), Micros: p.Micros, Schedules: p.schedules(), Mode: p.mode(),
		Variants: func(c search.Cell) int { return len(p.variants(c)) },
		Problem:  p.problem, Margin: p.Margin,
	}
}

// plan makes the plan of a solution.
func (p *pricer) plan(c search.Cell, problem *search.Problem, s *search.Solution) *parallel.Plan {
	plan := parallel.Default()
	plan.PP, plan.Micro, plan.Schedule = c.Stages, c.Micro, c.Schedule
	layer := 0
	for _, stage := range s.Stages {
		for _, i := range stage.Choice {
			plan.Layers = append(plan.Layers, problem.Layers[layer].Strategies[i])
			layer++
		}
	}
	plan.Stages = s.Partition
	return plan.Simplify(p.Model.Facts)
}

// others lists the best outcome of each number of stages, micro-batches and
// schedule that was not chosen.
func (p *pricer) others(r *search.Result) []Other {
	best := map[search.Cell]Other{}
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		key := o.Cell
		key.Variant = 0
		chosen := r.Best.Cell
		chosen.Variant = 0
		if key == chosen || o.Solution == nil && math.IsInf(o.Bound, 1) {
			continue // nothing fits, which was not looked into
		}
		x := Other{Cell: key, Step: o.Bound, Bound: true}
		switch {
		case o.Solution != nil:
			x.Step, x.Bound = o.Solution.Time, false
		case o.Lacking != nil:
			x.Step, x.Bound, x.Lacks = o.Lacking.Closest.Time, false, o.Lacking.Lacks()
		}
		if known, ok := best[key]; !ok || better(x, known) {
			best[key] = x
		}
	}
	var all []Other
	for _, x := range best {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b Other) int {
		return cmp.Or(cmp.Compare(min(1, a.Lacks), min(1, b.Lacks)), cmp.Compare(a.rate(), b.rate()), cmp.Compare(a.Cell.String(), b.Cell.String()))
	})
	return all
}

// rate returns seconds a row.
func (x Other) rate() float64 { return x.Step / float64(x.Cell.Batch) }

// better prefers what fits to what does not, what is faster, and a plan to a
// bound.
func better(a, b Other) bool {
	if (a.Lacks > 0) != (b.Lacks > 0) {
		return a.Lacks == 0
	}
	if a.Lacks > 0 {
		return a.Lacks < b.Lacks
	}
	return a.Step < b.Step || a.Step == b.Step && b.Bound
}
