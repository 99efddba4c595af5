package program

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
)

// Options say what is trained, and how it is compiled.
type Options struct {
	Model     models.Config
	Batch     int // sequences of a step, over all ranks
	Seq       int // tokens of a sequence
	Dropout   float64
	Precision string // as [exec.Precision]
	// Disable turns passes of the compiler off, Enable on.
	Disable, Enable []exec.Pass
}

// Compile builds a rank's part of the model under a plan, differentiates and
// compiles it. Nothing of the memory that the program needs is allocated.
// It may be called from several goroutines at a time, with one back end.
func Compile(o Options, plan *parallel.Plan, rank int, b exec.Backend) (*parallel.Part, *exec.Program, error) {
	if o.Model == nil || plan.Micro < 1 {
		return nil, nil, fmt.Errorf("program: needs a model, and a plan of at least one micro-batch")
	}
	model, err := models.Build(o.Model, models.Options{
		Batch: o.Batch / plan.Micro, Seq: o.Seq, Dropout: o.Dropout, Train: true,
	})
	if err != nil {
		return nil, nil, err
	}
	return CompileModel(model, o, plan, rank, b)
}

// CompileModel is [Compile] of a model that is built already, for one
// micro-batch of all ranks. Of o it takes the precision and the passes. One
// model is compiled by one goroutine at a time.
func CompileModel(m *graph.Model, o Options, plan *parallel.Plan, rank int, b exec.Backend) (*parallel.Part, *exec.Program, error) {
	part, err := parallel.Partition(m, plan, rank)
	if err != nil {
		return nil, nil, err
	}
	if err := part.Differentiate(); err != nil {
		return nil, nil, err
	}
	compiled, err := exec.Compile(part.Stage, b, exec.Options{
		Slots: part.Slots, Train: true, Precision: exec.Precision(o.Precision),
		Counted:     func(s *graph.Shard) bool { return part.Counted[s] },
		LossReplica: LossReplica(part),
		Disable:     o.Disable, Enable: o.Enable,
	})
	if err != nil {
		return nil, nil, err
	}
	return part, compiled, nil
}

// LossReplica reports whether another rank has the same loss and reports it:
// one that differs from this one along axes over which the loss is not summed.
func LossReplica(part *parallel.Part) bool {
	for i, a := range part.Mesh {
		if a.Name != parallel.AxisPP && !slices.Contains(part.LossOver, a.Name) && part.Coord[i] > 0 {
			return true
		}
	}
	return false
}

// Traffic lists the exchanges of a part's program.
func Traffic(p *exec.Program, part *parallel.Part) []exec.Traffic {
	return p.Traffic(func(group string) int { return len(part.Groups[group]) })
}
