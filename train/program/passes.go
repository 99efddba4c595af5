package program

import (
	"context"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
)

// RunPasses runs all passes of a step, counted from 0, in the order of the
// part's schedule; [exec.Machine.Update] comes next. feed writes the inputs of a
// micro-batch to its slot before its forward pass. After each pass follows
// after, unless it is nil.
func RunPasses(ctx context.Context, part *parallel.Part, m *exec.Machine, step int, feed func(exec.MicroBatch) error, after func()) error {
	first := true
	for i, a := range part.Schedule {
		mb := exec.MicroBatch{Slot: a.Slot, Step: step, Index: a.Micro, Last: i == len(part.Schedule)-1}
		var err error
		if a.Pass == graph.Forward {
			if err = feed(mb); err == nil {
				err = m.Forward(ctx, mb)
			}
		} else {
			err = m.Backward(ctx, mb, first)
			first = false
		}
		if err != nil {
			return err
		}
		if after != nil {
			after()
		}
	}
	return nil
}
