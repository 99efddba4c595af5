package train

import (
	"fmt"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"gorgonia.org/tensor"
)

// feeder writes a rank's inputs: its rows of the batch, and its tokens of each.
type feeder struct {
	part            *parallel.Part
	lo, hi          int // rows of a micro-batch that any input takes
	tokens, targets []int32
	cuts            map[string][]run
}

// run is a contiguous run of elements.
type run struct{ from, len int }

// fill is Dataset.Fill or Dataset.FillVal.
type fill func(index, lo, hi int, inputs, targets []int32) (int, error)

// newFeeder finds what the part's inputs take of a micro-batch.
func newFeeder(part *parallel.Part, seq int) (*feeder, error) {
	rows := part.Rows.Mesh
	f := &feeder{part: part, lo: rows, cuts: map[string][]run{}}
	taken := func(in *graph.Input) bool {
		return in.Name == graph.InputTokens || in.Name == graph.InputTargets
	}
	for _, in := range part.Stage.Inputs {
		if taken(in) {
			p := in.Parts[0]
			f.lo, f.hi = min(f.lo, p.Index*rows/p.Count), max(f.hi, (p.Index+1)*rows/p.Count)
		}
	}
	f.lo = min(f.lo, f.hi) // no rows where no input takes any
	for _, in := range part.Stage.Inputs {
		if !taken(in) {
			continue
		}
		runs, err := models.Runs(tensor.Shape{rows, seq}, in.Parts)
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", in.Name, err)
		}
		for from, n := range runs {
			f.cuts[in.Name] = append(f.cuts[in.Name], run{from - f.lo*seq, n})
		}
	}
	f.tokens, f.targets = make([]int32, (f.hi-f.lo)*seq), make([]int32, (f.hi-f.lo)*seq)
	return f, nil
}

// feed writes the inputs of a micro-batch to its slot and returns the number
// of targets in the whole batch.
func (f *feeder) feed(m *exec.Machine, fill fill, index int, mb exec.MicroBatch, seed uint64, dropping bool) (int, error) {
	first := mb.Index * f.part.Rows.Mesh
	count, err := fill(index, first+f.lo, first+f.hi, f.tokens, f.targets)
	if err != nil {
		return 0, err
	}
	f.cut(m.Input(mb.Slot, graph.InputTokens), graph.InputTokens, f.tokens)
	f.cut(m.Input(mb.Slot, graph.InputTargets), graph.InputTargets, f.targets)
	if in := m.Input(mb.Slot, graph.InputScale); in.Floats != nil {
		in.Floats[0] = float32(1 / float64(count))
	}
	if in := m.Input(mb.Slot, graph.InputRNG); in.Ints != nil {
		copy(in.Ints, []int32{int32(uint32(seed)), int32(uint32(seed >> 32)), int32(uint32(index)), int32(f.part.Rows.Start(mb.Index)), asInt(dropping)})
	}
	return count, nil
}

// cut copies an input's part of the rows.
func (f *feeder) cut(dst exec.Tensor, name string, rows []int32) {
	out := dst.Ints
	for _, r := range f.cuts[name] {
		if len(out) == 0 {
			return // the program does not read it
		}
		out = out[copy(out, rows[r.from:][:r.len]):]
	}
}

func asInt(on bool) int32 {
	if on {
		return 1
	}
	return 0
}
