package train

import (
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
)

// Planned is the memory that a worker is planned to take, by class, and what
// its process takes besides: the program text in use, the Go run time, the
// compiled graph.
type Planned struct {
	exec.Memory
	Process int64
}

// Total is the sum of all.
func (p Planned) Total() int64 { return p.Memory.Total() + p.Process }

// String gives the total and its parts.
func (p Planned) String() string {
	return fmt.Sprintf("%v (%s)", Size(p.Total()), p.parts())
}

// parts lists what is not zero.
func (p Planned) parts() string {
	var parts []string
	for _, c := range exec.Classes() {
		if n := p.Memory[c]; n > 0 {
			parts = append(parts, fmt.Sprintf("%v %v", c, Size(n)))
		}
	}
	return strings.Join(append(parts, fmt.Sprintf("process %v", Size(p.Process))), ", ")
}

// MarshalJSON gives an object of bytes by class, with the process last.
func (p Planned) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(p.Memory)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(text[:len(text)-1], `,"process":%d}`, p.Process), nil
}

// Memory of a worker besides its program's, as measured over the plans of
// TestMeasuredMemory.
const (
	// processBytes is the Go run time, and what of the arena's huge pages the
	// arena does not fill.
	processBytes = 10 << 20
	// graphBytes is the compiled graph, of each parameter.
	graphBytes = 24 << 10
	// transportBytes is the NATS client.
	transportBytes = 9 << 20
	// ringBytes bounds what of one tensor is under way at once.
	ringBytes = 4 << 20
)

// plannedOf plans the memory of a worker that runs p.
func plannedOf(p *exec.Program, part *parallel.Part) Planned {
	planned := Planned{Memory: p.Memory(), Process: processBytes + graphBytes*int64(len(p.Stage().Params))}
	if part.Mesh.Size() > 1 {
		planned.Memory[exec.Communication] += transportBytes + messageBytes(p, part)
	}
	return planned
}

// limitHeap has the garbage collector keep the Go heap within what is planned
// besides the program's memory, which lies outside of it.
func limitHeap(planned Planned, p *exec.Program) {
	debug.SetMemoryLimit(planned.Total() - p.Memory().Total())
}

// messageBytes is what the transport holds of tensors. For each group, that is
// half of the largest tensor, sent and received: with two ranks the piece that
// goes around its ring, with more of them smaller pieces, but more of what was
// received and not freed yet. A reduce-scatter has two partial sums, one with
// two ranks. The garbage collector lets both grow to twice that. Tensors between
// stages, and sums over stages, come one by one.
func messageBytes(p *exec.Program, part *parallel.Part) int64 {
	pieces, sums := map[string]int64{}, map[string]int64{}
	for _, t := range p.Traffic(func(group string) int { return len(part.Groups[group]) }) {
		piece := min(t.Bytes/2, ringBytes)
		if t.Kind == (graph.ReduceScatter{}).Kind() {
			sums[t.Group] = max(sums[t.Group], t.Bytes/int64(t.Ranks)*int64(min(2, t.Ranks-1)))
		}
		if t.Group == "" || graph.AcrossStages(t.Group) {
			piece /= 4
		}
		pieces[t.Group] = max(pieces[t.Group], piece)
	}
	var all int64
	for group, piece := range pieces {
		all += 2 * (2*piece + sums[group])
	}
	return all
}

// stagePlan is a pipeline stage as one of its workers runs it; the others
// differ in which shards they hold, not in how many bytes.
type stagePlan struct {
	number  int
	part    *parallel.Part
	program *exec.Program
	planned Planned
}

// planStage compiles the program of a pipeline stage without allocating it.
func planStage(spec *Spec, stage int, b exec.Backend) (*stagePlan, error) {
	rank := stage * spec.Plan.Mesh().Size() / spec.Plan.PP
	part, program, err := compileRank(spec, rank, b)
	if err != nil {
		return nil, err
	}
	return &stagePlan{stage, part, program, plannedOf(program, part)}, nil
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
func planMemory(spec *Spec) ([]Planned, error) {
	stages, err := planStages(spec)
	if err != nil {
		return nil, err
	}
	if err := checkBudget(spec, stages); err != nil {
		return nil, err
	}
	return plannedStages(stages), nil
}

func plannedStages(stages []*stagePlan) []Planned {
	var all []Planned
	for _, s := range stages {
		all = append(all, s.planned)
	}
	return all
}

// largest is the plan of the worker that takes most.
func largest(stages []Planned) Planned {
	return slices.MaxFunc(stages, func(a, b Planned) int { return int(a.Total() - b.Total()) })
}
