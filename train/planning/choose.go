package planning

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/train/program"
)

// Found is the plan chosen, compiled.
type Found struct {
	*planner.Choice
	Planned []program.Planned // of the largest worker of each stage
	Rounds  int               // searches, each within what compiled plans before had left
	// Pricing is the time that it took to read what layers do off compiled
	// programs, Searching that of the searches, compilation of their plans included.
	Pricing, Searching time.Duration
}

// Largest returns the memory of the worker that takes most, in bytes.
func (f *Found) Largest() int64 {
	most := int64(0)
	for _, p := range f.Planned {
		most = max(most, p.Total())
	}
	return most
}

// mostRounds bounds the searches.
const mostRounds = 6

// Choose searches for the fastest plan, and compiles it. Where the compiled plan
// takes more memory than there is, since buffers do not pack as tightly as the
// search adds them up, it searches again within so much less.
func (p *Problem) Choose(ctx context.Context) (*Found, error) {
	budget := p.Options.Memory
	memory := budget
	search, err := planner.NewSearch(p.Options)
	if err != nil {
		return nil, err
	}
	f := &Found{}
	began := time.Now()
	if err := search.Price(ctx); err != nil {
		return nil, err
	}
	f.Pricing = time.Since(began)
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		f.Rounds++
		choice, err := search.Choose(ctx, memory)
		var lacking *planner.InfeasibleError
		if errors.As(err, &lacking) {
			lacking.Memory = budget
			lacking.Needs += budget - memory
		}
		if err != nil {
			return nil, err
		}
		f.Choice = choice
		if f.Planned, err = p.Plan(ctx, choice.Plan, choice.Cell.Batch); err != nil {
			return nil, err
		}
		over := f.Largest() - budget
		if over <= 0 {
			f.Searching = time.Since(began) - f.Pricing
			return f, nil
		}
		if f.Rounds == mostRounds {
			return nil, fmt.Errorf("planning: after %d searches the plan '%v' still takes %d bytes more than the %d there are: give a little more memory", f.Rounds, choice.Plan, over, budget)
		}
		memory -= over
	}
}

// Plan compiles every stage of a plan and returns the memory of a worker of each.
func (p *Problem) Plan(ctx context.Context, plan *parallel.Plan, batch int) ([]program.Planned, error) {
	o := p.Request.Program
	o.Batch = batch
	perStage := plan.Mesh().Size() / plan.PP
	all := make([]program.Planned, plan.PP)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for stage := range plan.PP {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			part, compiled, err := program.Compile(o, plan, stage*perStage, p.backend)
			if err != nil {
				return fmt.Errorf("stage %d: %w", stage, err)
			}
			all[stage] = program.PlannedOf(compiled, part)
			return nil
		})
	}
	return all, group.Wait()
}

// process returns what a worker takes beside its layers: that of the first
// strategy that fits the model.
func (p *Problem) process(o *planner.Options, table *program.Table) (int64, error) {
	for _, stages := range o.Space.Stages() {
		if stages > o.Model.Blocks() {
			continue
		}
		strategies := slices.DeleteFunc(o.Space.Strategies(stages), func(s parallel.Strategy) bool { return o.Model.Facts.Admit(s) != nil })
		if len(strategies) == 0 {
			continue
		}
		works, err := table.Works(strategies[0], stages, strategies[0].Degree(parallel.RoleDP))
		if err != nil {
			return 0, err
		}
		return works.Process, nil
	}
	return 0, &planner.NoStrategyError{Devices: o.Space.Devices, Batches: o.Batches, Blocks: o.Model.Blocks()}
}
