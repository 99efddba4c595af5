package program

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/galvani-ml/galvani/exec"
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
	return fmt.Sprintf("%s (%s)", size(p.Total()), p.parts())
}

// parts lists what is not zero.
func (p Planned) parts() string {
	var parts []string
	for _, c := range exec.Classes() {
		if n := p.Memory[c]; n > 0 {
			parts = append(parts, fmt.Sprintf("%v %s", c, size(n)))
		}
	}
	return strings.Join(append(parts, fmt.Sprintf("process %s", size(p.Process))), ", ")
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

// PlannedOf plans the memory of a worker that runs p.
func PlannedOf(p *exec.Program, part *parallel.Part) Planned {
	planned := Planned{Memory: p.Memory(), Process: processBytes + graphBytes*int64(len(p.Stage().Params))}
	if part.Mesh.Size() > 1 {
		planned.Memory[exec.Communication] += transportBytes + messageBytes(Traffic(p, part))
	}
	return planned
}

// Heap is what is planned beside the memory of program p, which lies outside of
// the Go heap: a limit of that many bytes keeps the garbage collector within the
// plan.
func (p Planned) Heap(program *exec.Program) int64 { return p.Total() - program.Memory().Total() }

// messageBytes is what the transport holds of tensors. For each group, that is
// half of the largest tensor, sent and received: with two ranks the piece that
// goes around its ring, with more of them smaller pieces, but more of what was
// received and not freed yet. A reduce-scatter has two partial sums, one with
// two ranks. The garbage collector lets both grow to twice that. Tensors between
// stages, and sums over stages, come one by one.
func messageBytes(traffic []exec.Traffic) int64 {
	pieces, sums := map[string]int64{}, map[string]int64{}
	for _, t := range traffic {
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

func size(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
