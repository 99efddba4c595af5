package train

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/train/program"
)

// BudgetError says that a plan needs more memory than --memory allows, and
// what would change that.
type BudgetError struct {
	Budget     Size
	Stage      int // the pipeline stage that needs most
	Planned    program.Planned
	Layer      int    // the layer of the stage that takes most
	LayerName  string // as "h.3"
	Buffer     string // its largest buffer
	LayerBytes int64
	// Change is the cheapest change that fits; where Fits is false none was
	// found, and it is the one that misses by least. Nil where nothing can be
	// changed.
	Change *Change
}

// Missing is how many bytes the stage takes too much.
func (e *BudgetError) Missing() int64 { return e.Planned.Total() - int64(e.Budget) }

// Error names the stage, the layer, the missing bytes and the change.
func (e *BudgetError) Error() string {
	text := fmt.Sprintf("--memory %v: stage %d needs %v, %v (%d bytes) too much; layer %d (%s, its largest buffer %s) takes most, %v",
		e.Budget, e.Stage, e.Planned, Size(e.Missing()), e.Missing(), e.Layer, e.LayerName, e.Buffer, Size(e.LayerBytes))
	c := e.Change
	switch {
	case c == nil:
		return text + "; nothing about the plan can be changed to save memory: raise --memory"
	case c.Bytes > int64(e.Budget):
		return text + fmt.Sprintf("; no change of the plan that was tried fits: the best, to %s, still needs %v, %v (%d bytes) too much: raise --memory", c.What, Size(c.Bytes), Size(c.Bytes-int64(e.Budget)), c.Bytes-int64(e.Budget))
	}
	return text + fmt.Sprintf("; the cheapest change that fits is to %s, which needs %v: --plan '%v'", c.What, Size(c.Bytes), c.Plan)
}

// checkBudget returns a *BudgetError where a stage exceeds --memory.
func checkBudget(spec *Spec, stages []*stagePlan) error {
	budget := int64(spec.Config.Memory)
	if budget == 0 {
		return nil
	}
	worst := slices.MaxFunc(stages, func(a, b *stagePlan) int { return cmp.Compare(a.planned.Total(), b.planned.Total()) })
	rest := worst.planned.Total() - worst.program.Memory().Total() // what is not the program's
	var m *exec.MemoryError
	if !errors.As(worst.program.CheckBudget(budget-rest), &m) {
		return nil
	}
	change, err := cheapestChange(spec, stages)
	if err != nil {
		return err
	}
	return &BudgetError{
		Budget: spec.Config.Memory, Stage: worst.number, Planned: worst.planned,
		Layer: m.Layer, LayerName: worst.part.LayerName(m.Layer), Buffer: m.LayerName, LayerBytes: m.LayerBytes, Change: change,
	}
}
