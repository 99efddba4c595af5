package local

import (
	"fmt"
	"maps"
	"slices"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
)

// Batch is what the inputs of one step hold, by name, for all ranks: of inputs
// per row (see [graph.Input.PerRow]) all rows of the step, one micro-batch after
// the other; of others what every micro-batch takes. [graph.InputScale] and
// [graph.InputRNG] are filled in where they are left out.
type Batch struct {
	Ints   map[string][]int32
	Floats map[string][]float32
}

// InputError is a batch that does not fit the model.
type InputError struct {
	Name    string
	Problem string
}

// Error names the input.
func (e *InputError) Error() string { return fmt.Sprintf("local: input %s: %s", e.Name, e.Problem) }

// complete checks b against the model, and adds what may be left out. Dropout
// drops where dropping is set.
func (t *Trainer) complete(b Batch, dropping bool) (Batch, error) {
	full := Batch{Ints: map[string][]int32{}, Floats: map[string][]float32{}}
	maps.Copy(full.Ints, b.Ints)
	maps.Copy(full.Floats, b.Floats)
	if full.Floats[graph.InputScale] == nil && t.model.Input(graph.InputScale) != nil {
		targets := 0
		for _, id := range full.Ints[graph.InputTargets] {
			if id != graph.IgnoreIndex {
				targets++
			}
		}
		if targets == 0 {
			return Batch{}, &InputError{graph.InputTargets, "there are none, so there is no mean loss"}
		}
		full.Floats[graph.InputScale] = []float32{float32(1 / float64(targets))}
	}
	if full.Ints[graph.InputRNG] == nil && t.model.Input(graph.InputRNG) != nil {
		full.Ints[graph.InputRNG] = []int32{int32(uint32(t.seed)), int32(uint32(t.seed >> 32)), int32(uint32(t.steps)), 0, asInt(dropping)}
	}
	return full, t.check(full)
}

func asInt(on bool) int32 {
	if on {
		return 1
	}
	return 0
}

// check compares names and sizes with the model's inputs.
func (t *Trainer) check(b Batch) error {
	names := slices.Concat(slices.Collect(maps.Keys(b.Ints)), slices.Collect(maps.Keys(b.Floats)))
	slices.Sort(names)
	for _, name := range names {
		if t.model.Input(name) == nil {
			return &InputError{name, "the model has no such input"}
		}
	}
	for _, in := range t.model.Inputs {
		typ := graph.TypeOf(in.Node)
		have, want := len(b.Ints[in.Name]), typ.Size()
		if typ.IsFloat() {
			have = len(b.Floats[in.Name])
		}
		if in.PerRow() {
			want *= t.plan.Micro
		}
		if have != want {
			return &InputError{in.Name, fmt.Sprintf("%d elements for %d micro-batches of %v: needs %d", have, t.plan.Micro, typ, want)}
		}
	}
	return nil
}

// cut is where a rank's part of an input lies in that of the whole micro-batch.
type cut struct {
	input  *graph.Input
	size   int      // elements of the whole micro-batch; 0 where all take the same
	ranges [][2]int // offset, length
}

// cutsOf finds what a part takes of each input.
func cutsOf(m *graph.Model, part *parallel.Part) ([]cut, error) {
	var cuts []cut
	for _, in := range part.Stage.Inputs {
		whole := graph.TypeOf(m.Input(in.Name).Node)
		runs, err := models.Runs(whole.Shape, in.Parts)
		if err != nil {
			return nil, fmt.Errorf("local: input %s: %w", in.Name, err)
		}
		c := cut{input: in}
		if in.PerRow() {
			c.size = whole.Size()
		}
		for from, n := range runs {
			c.ranges = append(c.ranges, [2]int{from, n})
		}
		cuts = append(cuts, c)
	}
	return cuts, nil
}

// feed writes a micro-batch to its slot.
func (r *rank) feed(b Batch, mb exec.MicroBatch) {
	for _, c := range r.cuts {
		to := r.machine.Input(mb.Slot, c.input.Name)
		copyRanges(to.Ints, b.Ints[c.input.Name], c, mb.Index)
		copyRanges(to.Floats, b.Floats[c.input.Name], c, mb.Index)
	}
	if rng := r.machine.Input(mb.Slot, graph.InputRNG); rng.Ints != nil {
		rng.Ints[3] = int32(r.part.Rows.Start(mb.Index)) // dropout draws by the row in the batch
	}
}

// copyRanges copies a rank's part, unless the program does not read it.
func copyRanges[T int32 | float32](to, from []T, c cut, micro int) {
	for _, r := range c.ranges {
		if len(to) == 0 {
			return
		}
		to = to[copy(to, from[micro*c.size+r[0]:][:r[1]]):]
	}
}
