package planner

import (
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/search"
)

// InfeasibleError says that no plan fits in memory, and which one comes closest.
type InfeasibleError struct {
	Closest *parallel.Plan
	Batch   int     // rows of a step
	Stage   int     // that lacks most
	Needs   int64   // bytes of a rank there
	Memory  int64   // the budget
	Step    float64 // seconds that the closest plan would take
}

// Lacks returns the bytes that are missing.
func (e *InfeasibleError) Lacks() int64 { return e.Needs - e.Memory }

// Error names the closest plan, what it lacks and where.
func (e *InfeasibleError) Error() string {
	size := func(bytes int64) string { return humanize.IBytes(uint64(max(0, bytes))) }
	return fmt.Sprintf("no plan fits in %s a worker: the closest, '%s' with a batch of %d, needs %s on stage %d, %s (%d bytes) more: give more memory or workers, a smaller batch, or shorter sequences",
		size(e.Memory), e.Closest, e.Batch, size(e.Needs), e.Stage, size(e.Lacks()), e.Lacks())
}

// ProcessError says that there is not even memory for a worker without layers.
type ProcessError struct{ Memory, Process int64 } // bytes

// Error says how much there is, and how much it takes.
func (e *ProcessError) Error() string {
	return fmt.Sprintf("no plan fits in %s a worker: its process alone takes %s, whatever the plan: give more memory",
		humanize.IBytes(uint64(max(0, e.Memory))), humanize.IBytes(uint64(max(0, e.Process))))
}

// NoStrategyError says that no strategy divides the model and the batch.
type NoStrategyError struct {
	Devices int
	Batches []int
	Blocks  int
}

// Error says what to change.
func (e *NoStrategyError) Error() string {
	return fmt.Sprintf("no plan: nothing divides %d workers, batch %v and %d blocks: use another number of workers or another batch", e.Devices, e.Batches, e.Blocks)
}

// infeasible explains a sweep without a best plan.
func (p *pricer) infeasible(r *search.Result) error {
	if r.Closest == nil {
		return &NoStrategyError{p.Space.Devices, p.Batches, p.Model.Blocks()}
	}
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		if o.Lacking != r.Closest {
			continue
		}
		problem, err := p.problem(o.Cell)
		if err != nil {
			return err
		}
		return &InfeasibleError{
			Closest: p.plan(o.Cell, problem, o.Lacking.Closest), Batch: o.Cell.Batch, Stage: o.Lacking.Stage,
			Needs: o.Lacking.Needs + p.Process, Memory: p.Memory, Step: o.Lacking.Closest.Time,
		}
	}
	return r.Closest
}
