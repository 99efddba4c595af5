package parallel

import (
	"errors"
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// leaves makes the parameters and inputs of every stage, in the model's order.
func (w *walker) leaves(operations []*G.Node) error {
	users := w.users(operations)
	tied := 0
	for _, p := range w.model.Params {
		stages := users[p.Node]
		if len(stages) == 0 {
			return w.leafError(p, errors.New("nothing that the model computes depends on it"))
		}
		group := ""
		if len(stages) > 1 {
			group = graph.TiedGroup(tied)
			tied++
		}
		if err := w.param(p, stages, group); err != nil {
			return w.leafError(p, err)
		}
	}
	for _, in := range w.model.Inputs {
		if err := w.input(in, users[in.Node]); err != nil {
			return &PartitionError{Layer: "inputs", Op: in.Name, Err: err}
		}
	}
	return nil
}

func (w *walker) leafError(p *graph.Param, err error) error {
	layer := "none"
	if p.Layer >= 0 {
		layer = w.part.layers[p.Layer]
	}
	return &PartitionError{Layer: layer, Op: p.Name, Err: err}
}

// users returns the stages that use each leaf, ascending.
func (w *walker) users(operations []*G.Node) map[*G.Node][]int {
	users := map[*G.Node][]int{}
	for _, n := range operations {
		stage := w.stageOf[graph.OpOf(n).Tag.Layer]
		for _, c := range graph.Children(n) {
			if graph.IsLeaf(c) && !slices.Contains(users[c], stage) {
				users[c] = append(users[c], stage)
			}
		}
	}
	for _, stages := range users {
		slices.Sort(stages)
	}
	return users
}

// param places a parameter on the stages that use it; group names them if they
// are several.
func (w *walker) param(p *graph.Param, stages []int, group string) error {
	held, used := make(Layout, len(w.axes)), make(Layout, len(w.axes))
	for i, t := range w.tables {
		h := t.Param(p)
		held[i], used[i] = h.Held, h.Used
	}
	if slices.Contains(held, Partial) || slices.Contains(used, Partial) {
		return errors.New("a parameter cannot be placed as parts of a sum")
	}
	v := &value{name: p.Name, typ: graph.TypeOf(p.Node), at: held, used: used, order: splitOrder(held, used), stage: leafStage}
	w.values[p.Node] = v
	typ, err := held.local(v.typ, w.axes)
	if err != nil {
		return err
	}
	if !slices.Contains(stages, w.stage) {
		return nil
	}
	if v.node, err = graph.NewLeaf(w.part.Stage.Graph, p.Name, typ); err != nil {
		return err
	}
	s := &graph.Shard{Param: p, Node: v.node, Parts: held.parts(v.typ.Dims(), w.axes, v.order)}
	counted := w.stage == stages[0]
	for i, at := range held {
		if at.Gradient() == Partial {
			s.SumOver = append(s.SumOver, w.axes[i].Name)
		}
		if _, sharded := at.Dim(); !sharded && w.axes[i].Rank > 0 {
			counted = false
		}
	}
	if group != "" {
		s.SumOver = append(s.SumOver, group)
		for _, stage := range stages {
			w.part.Groups[group] = append(w.part.Groups[group], w.part.Peer(stage))
		}
	}
	w.part.Stage.Params = append(w.part.Stage.Params, s)
	w.part.Counted[s] = counted
	return nil
}

// splitOrder lets the axes along which operations take a parameter as it is held
// split it first, and those along which it is converted before use split the
// parts, so that such a conversion leaves the others' parts in one piece.
func splitOrder(held, used Layout) []int {
	var kept, converted []int
	for i := range held {
		if held[i] == used[i] {
			kept = append(kept, i)
		} else {
			converted = append(converted, i)
		}
	}
	return append(kept, converted...)
}

// input places an input on the stages that use it.
func (w *walker) input(in *graph.Input, stages []int) error {
	at := make(Layout, len(w.axes))
	for i, t := range w.tables {
		at[i] = t.Input(in)
	}
	if slices.Contains(at, Partial) || slices.Contains(at, Copied) {
		return errors.New("an input is placed as Replicate or as a shard")
	}
	v := &value{name: in.Name, typ: graph.TypeOf(in.Node), at: at, used: at, order: at.natural(), stage: leafStage}
	w.values[in.Node] = v
	typ, err := at.local(v.typ, w.axes)
	if err != nil {
		return err
	}
	if in.PerRow() {
		w.rows(v)
	}
	if !slices.Contains(stages, w.stage) {
		return nil
	}
	if v.node, err = graph.NewLeaf(w.part.Stage.Graph, in.Name, typ); err != nil {
		return err
	}
	w.part.Stage.Inputs = append(w.part.Stage.Inputs, &graph.Input{Name: in.Name, Node: v.node})
	return nil
}

// rows notes which rows of the batch an input holds.
func (w *walker) rows(v *value) {
	rows := graph.Part{Index: 0, Count: 1}
	if parts := v.at.parts(v.typ.Dims(), w.axes, v.at.natural()); len(parts) > 0 {
		rows = parts[0]
	}
	mesh := v.typ.Shape[0]
	count := mesh / rows.Count
	w.part.Rows = Rows{Mesh: mesh, First: rows.Index * count, Count: count}
}
