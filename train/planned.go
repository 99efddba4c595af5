package train

import (
	"runtime/debug"
	"slices"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/program"
)

// compileRank compiles a rank's part of a run.
func compileRank(spec *Spec, rank int, b exec.Backend) (*parallel.Part, *exec.Program, error) {
	cfg, err := models.ParseConfig(spec.Model)
	if err != nil {
		return nil, nil, err
	}
	c := spec.Config
	return program.Compile(program.Options{
		Model: cfg, Batch: c.Batch, Seq: c.Seq, Dropout: c.Dropout, Precision: c.Precision,
		Disable: c.DisablePass, Enable: c.EnablePass,
	}, spec.Plan, rank, b)
}

// limitHeap has the garbage collector keep the Go heap within what is planned
// for it.
func limitHeap(p *exec.Program, part *parallel.Part) {
	debug.SetMemoryLimit(program.PlannedOf(p, part).Heap(p))
}

// stagePlan is a pipeline stage as one of its workers runs it; the others
// differ in which shards they hold, not in how many bytes.
type stagePlan struct {
	number  int
	part    *parallel.Part
	program *exec.Program
	planned program.Planned
}

// planStage compiles the program of a pipeline stage without allocating it.
func planStage(spec *Spec, stage int, b exec.Backend) (*stagePlan, error) {
	rank := stage * spec.Plan.Mesh().Size() / spec.Plan.PP
	part, compiled, err := compileRank(spec, rank, b)
	if err != nil {
		return nil, err
	}
	return &stagePlan{stage, part, compiled, program.PlannedOf(compiled, part)}, nil
}

// planStages compiles all stages.
func planStages(spec *Spec) ([]*stagePlan, error) {
	backend, err := cpu.New(spec.Threads)
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	var stages []*stagePlan
	for stage := range spec.Plan.PP {
		s, err := planStage(spec, stage, backend)
		if err != nil {
			return nil, err
		}
		stages = append(stages, s)
	}
	return stages, nil
}

// planMemory plans the memory of the largest worker of each stage. It refuses
// a plan that exceeds --memory with a *BudgetError.
func planMemory(spec *Spec) ([]program.Planned, error) {
	stages, err := planStages(spec)
	if err != nil {
		return nil, err
	}
	if err := checkBudget(spec, stages); err != nil {
		return nil, err
	}
	return plannedStages(stages), nil
}

func plannedStages(stages []*stagePlan) []program.Planned {
	var all []program.Planned
	for _, s := range stages {
		all = append(all, s.planned)
	}
	return all
}

// largest is the plan of the worker that takes most.
func largest(stages []program.Planned) program.Planned {
	return slices.MaxFunc(stages, func(a, b program.Planned) int { return int(a.Total() - b.Total()) })
}
