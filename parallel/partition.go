package parallel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// PartitionError says which operation of which layer could not be placed on
// the mesh.
type PartitionError struct {
	Layer string // name of the layer
	Op    string // name of the operation or leaf
	Kind  string // kind of the operation; empty for leaves
	Err   error
}

// Error names the layer and the operation.
func (e *PartitionError) Error() string {
	op := e.Op
	if e.Kind != "" {
		op += " (" + e.Kind + ")"
	}
	return fmt.Sprintf("cannot partition the model: layer %s, %s: %v", e.Layer, op, e.Err)
}

// Unwrap returns the fault.
func (e *PartitionError) Unwrap() error { return e.Err }

// Partition gives a rank its part of the model under a plan. The model is that
// of one micro-batch of all ranks: its inputs have batch/micro rows. Without a
// loss the part computes logits only; with one, it has logits where each rank
// has whole ones of its rows. The model is
// left as it is, but Gorgonia caches look-ups in its graph: partition one model
// from one goroutine at a time. Its errors are those of Validate that need no
// more than the model, and a *PartitionError.
func Partition(m *graph.Model, p *Plan, rank int) (*Part, error) {
	w, err := newWalker(m, p, rank)
	if err != nil {
		return nil, err
	}
	tables, err := p.tablesOf(FactsOf(m))
	if err != nil {
		return nil, err
	}
	for l, s := range p.LayerStrategies(FactsOf(m)) {
		w.once[l] = s.once()
		w.part.checkpoint[l] = s.Checkpoint
	}
	return w.partition(tables)
}

// PartitionBy is Partition with the strategy of each axis given by a table, the
// same for all layers. An axis without one is Replicated.
func PartitionBy(m *graph.Model, p *Plan, rank int, tables map[string]Table) (*Part, error) {
	w, err := newWalker(m, p, rank)
	if err != nil {
		return nil, err
	}
	all := make([][]Table, len(w.axes))
	for i, a := range w.axes {
		t := tables[a.Name]
		if t == nil {
			t = Replicated{}
		}
		all[i] = slices.Repeat([]Table{t}, len(m.Layers))
	}
	return w.partition(all)
}

// partition goes through the model.
func (w *walker) partition(tables [][]Table) (*Part, error) {
	w.tables = tables
	operations, err := w.operations()
	if err != nil {
		return nil, err
	}
	if err := w.leaves(operations); err != nil {
		return nil, err
	}
	for _, n := range operations {
		if err := w.operation(n); err != nil {
			return nil, err
		}
	}
	if err := w.results(); err != nil {
		return nil, err
	}
	return w.part, nil
}

// operations returns the model's operations, operands before users.
func (w *walker) operations() ([]*G.Node, error) {
	var roots, operations []*G.Node
	for _, n := range []*G.Node{w.model.Loss, w.model.Logits} {
		if n != nil {
			roots = append(roots, n)
		}
	}
	for _, n := range graph.Order(roots...) {
		op := graph.OpOf(n)
		switch {
		case graph.IsLeaf(n):
			continue
		case op == nil:
			return nil, fmt.Errorf("cannot partition the model: %v is not an operation of Galvani's", n)
		case op.Tag.Layer < 0 || op.Tag.Layer >= len(w.stageOf):
			return nil, fmt.Errorf("cannot partition the model: %v: %s: the model has no such layer", op.Tag, op.Spec.Kind())
		}
		operations = append(operations, n)
	}
	if len(operations) == 0 {
		return nil, errors.New("cannot partition the model: without loss and logits it computes nothing")
	}
	return operations, nil
}

// newWalker checks that the arguments fit together.
func newWalker(m *graph.Model, p *Plan, rank int) (*walker, error) {
	if err := p.checkValues(); err != nil {
		return nil, err
	}
	if err := p.checkStages(FactsOf(m)); err != nil {
		return nil, err
	}
	if size := p.Mesh().Size(); rank < 0 || rank >= size {
		return nil, fmt.Errorf("no rank %d in a plan for %d workers: %v", rank, size, p)
	}
	if len(m.States) > 0 {
		return nil, errors.New("cannot partition the model: it has states (a decoder's caches): run it whole")
	}
	part := newPart(m, p, rank)
	w := &walker{
		model: m, part: part, stage: part.PipelineStage(), stageOf: p.stageOfLayer(FactsOf(m)),
		values: map[*G.Node]*value{}, fetched: map[place]*value{}, converted: map[conversionKey]*value{},
		edges: map[[2]int]int{}, names: map[string]int{}, once: make([]graph.Once, len(m.Layers)),
	}
	for i, a := range part.Mesh {
		if i > 0 { // pp
			w.axes = append(w.axes, graph.Axis{Name: a.Name, Size: a.Size, Rank: part.Coord[i]})
		}
	}
	return w, nil
}

// newPart gives a rank its place, groups and schedule, and an empty stage.
func newPart(m *graph.Model, p *Plan, rank int) *Part {
	mesh := p.Mesh()
	part := &Part{
		Rank: rank, Mesh: mesh, Coord: mesh.Coord(rank), Groups: mesh.Groups(rank),
		Stage:   &graph.Stage{Graph: G.NewGraph()},
		Counted: map[*graph.Shard]bool{},
	}
	for _, l := range m.Layers {
		part.layers = append(part.layers, l.Name)
		part.checkpoint = append(part.checkpoint, false)
	}
	part.Schedule = p.Schedule.Actions(p.PP, part.PipelineStage(), p.Micro)
	part.Slots = p.Schedule.Slots(p.PP, part.PipelineStage(), p.Micro)
	return part
}

// results takes the loss and the logits from the stage that computes them.
func (w *walker) results() error {
	last := w.part.Mesh[w.part.Mesh.Index(AxisPP)].Size - 1
	if n := w.model.Loss; n != nil {
		v := w.values[n]
		for i, p := range v.at {
			switch p {
			case Partial:
				w.part.LossOver = append(w.part.LossOver, w.axes[i].Name)
			case Replicate:
			default:
				return w.fail(n, fmt.Errorf("the loss is %v on axis %s: the axis splits neither the batch nor the sequence", p, w.axes[i].Name))
			}
		}
		if v.stage != last {
			return w.fail(n, fmt.Errorf("the loss is computed on stage %d, not on the last", v.stage))
		}
		w.part.Stage.Loss = v.node
	}
	n := w.model.Logits
	if n == nil {
		return nil
	}
	v := w.values[n]
	want := slices.Clone(v.at)
	for i := range want {
		if want[i] != Shard(0) {
			want[i] = Replicate
		}
	}
	if w.model.Loss != nil && !slices.Equal(v.at, want) {
		return nil // nobody would use what it costs to join them
	}
	v, err := w.convert(v, want, graph.OpOf(n).Tag)
	if err != nil {
		return w.fail(n, err)
	}
	w.part.Stage.Logits = v.node
	return nil
}
