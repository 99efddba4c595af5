package train

import (
	"errors"
	"fmt"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
)

// processBytes is what a worker takes besides the memory that its program
// plans: the Go run time, the NATS client and messages on their way.
const processBytes = 48 << 20

// plannedBytes is the memory that a worker running p is planned to take.
func plannedBytes(p *exec.Program) int64 { return p.Memory().Total() + processBytes }

// planMemory compiles the program of every pipeline stage, without allocating
// it, and returns the planned bytes of the largest worker. It refuses a plan
// that exceeds --memory.
func planMemory(spec *Spec) (int64, error) {
	backend, err := cpu.New(spec.Threads)
	if err != nil {
		return 0, err
	}
	defer backend.Close()
	var most int64
	budget := int64(spec.Config.Memory)
	for stage := range spec.Plan.PP {
		rank := stage * spec.Plan.Mesh().Size() / spec.Plan.PP
		_, program, err := compileRank(spec, rank, backend)
		if err != nil {
			return 0, err
		}
		if budget > 0 {
			if err := program.CheckBudget(budget - processBytes); err != nil {
				return 0, budgetError(stage, spec, err)
			}
		}
		most = max(most, plannedBytes(program))
	}
	return most, nil
}

// budgetError names the stage that does not fit.
func budgetError(stage int, spec *Spec, err error) error {
	var m *exec.MemoryError
	if !errors.As(err, &m) {
		return err
	}
	return fmt.Errorf("--memory %v: stage %d needs %v of planned memory and %v for its process, %v too much; layer %d (%s) takes most, %v: raise --memory, or use more micro-batches or stages",
		spec.Config.Memory, stage, m.Memory, Size(processBytes), Size(m.Missing()), m.Layer, m.LayerName, Size(m.LayerBytes))
}
