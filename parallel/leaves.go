package parallel

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// leaves makes the parameters and inputs of every stage, in the model's order.
func (w *walker) leaves(operations []*G.Node) error {
	users := w.users(operations)
	tied := 0
	for _, p := range w.model.Params {
		layers := users[p.Node]
		if len(layers) == 0 {
			return w.leafError(p, errors.New("nothing that the model computes depends on it"))
		}
		stages := w.stagesOf(layers)
		group := ""
		if len(stages) > 1 {
			group = graph.TiedGroup(tied)
			tied++
		}
		if err := w.param(p, layers, group); err != nil {
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

// users returns the layers that use each leaf, ascending.
func (w *walker) users(operations []*G.Node) map[*G.Node][]int {
	users := map[*G.Node][]int{}
	for _, n := range operations {
		layer := graph.OpOf(n).Tag.Layer
		for _, c := range graph.Children(n) {
			if graph.IsLeaf(c) && !slices.Contains(users[c], layer) {
				users[c] = append(users[c], layer)
			}
		}
	}
	for _, layers := range users {
		slices.Sort(layers)
	}
	return users
}

// stagesOf returns the stages of layers, ascending.
func (w *walker) stagesOf(layers []int) []int {
	var stages []int
	for _, l := range layers {
		if s := w.stageOf[l]; !slices.Contains(stages, s) {
			stages = append(stages, s)
		}
	}
	slices.Sort(stages)
	return stages
}

// param places a parameter on the stages of the layers that use it; group names
// the stages if they are several.
func (w *walker) param(p *graph.Param, layers []int, group string) error {
	v := &value{name: p.Name, typ: graph.TypeOf(p.Node), stage: leafStage, once: w.once}
	v.at, v.used = w.holdings(p, layers)
	v.order = splitOrder(v.at, v.used[layers[0]])
	w.values[p.Node] = v
	for _, layout := range append([]Layout{v.at}, v.used...) {
		if slices.Contains(layout, Partial) {
			return errors.New("a parameter cannot be placed as parts of a sum")
		}
	}
	typ, err := v.at.local(v.typ, w.axes)
	if err != nil {
		return err
	}
	stages := w.stagesOf(layers)
	if !slices.Contains(stages, w.stage) {
		return nil
	}
	if v.node, err = graph.NewLeaf(w.part.Stage.Graph, p.Name, typ); err != nil {
		return err
	}
	s := &graph.Shard{Param: p, Node: v.node, Parts: v.at.parts(v.typ.Dims(), w.axes, v.order)}
	s.SumOver = w.sumOver(v.at)
	counted := w.stage == stages[0]
	for i, at := range v.at {
		if _, sharded := at.Dim(); !sharded && w.axes[i].Rank > 0 {
			counted = false
		}
	}
	if group != "" {
		s.SumOver = append(s.SumOver, group)
		if w.part.Groups[group] == nil {
			for _, stage := range stages {
				w.part.Groups[group] = append(w.part.Groups[group], w.part.Peer(stage))
			}
		}
	}
	w.part.Stage.Params = append(w.part.Stage.Params, s)
	w.part.Counted[s] = counted
	return nil
}

// holdings returns how a parameter is held, and how the operations of each layer
// take it. Layers that would hold it differently on an axis agree on one's
// shard, if there is one, or else on Replicate, from which all can be made.
func (w *walker) holdings(p *graph.Param, layers []int) (held Layout, used []Layout) {
	held, used = make(Layout, len(w.axes)), make([]Layout, len(w.stageOf))
	for _, l := range layers {
		used[l] = make(Layout, len(w.axes))
	}
	for i, tables := range w.tables {
		held[i] = tables[layers[0]].Param(p).Held
		for _, l := range layers {
			h := tables[l].Param(p)
			used[l][i] = h.Used
			_, sharded := held[i].Dim()
			_, shards := h.Held.Dim()
			switch {
			case h.Held == held[i] || sharded:
			case shards:
				held[i] = h.Held
			default:
				held[i] = Replicate
			}
		}
	}
	return held, used
}

// sumOver names the group of the axes over which the gradient of a value so
// placed is partial. Several axes make one group, so that one collective sums,
// in the order of their roles: where the ranks lie does not change it.
func (w *walker) sumOver(at Layout) []string {
	var names []string
	for i, p := range at {
		if p.Gradient() == Partial {
			names = append(names, w.axes[i].Name)
		}
	}
	if len(names) < 2 {
		return names
	}
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(slices.Index(Roles(), Role(a)), slices.Index(Roles(), Role(b)))
	})
	name := strings.Join(names, ",")
	if w.part.Groups[name] == nil {
		w.part.Groups[name] = w.part.Mesh.GroupOf(names, w.part.Rank)
	}
	return []string{name}
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

// input places an input on the stages of the layers that use it. What layers
// take differently every rank reads whole, and cuts.
func (w *walker) input(in *graph.Input, layers []int) error {
	v := &value{name: in.Name, typ: graph.TypeOf(in.Node), at: make(Layout, len(w.axes)), stage: leafStage}
	v.used = make([]Layout, len(w.stageOf))
	for _, l := range layers {
		v.used[l] = make(Layout, len(w.axes))
		for i, tables := range w.tables {
			v.used[l][i] = tables[l].Input(in)
			if l == layers[0] {
				v.at[i] = v.used[l][i]
			} else if v.at[i] != v.used[l][i] {
				v.at[i] = Replicate
			}
		}
		if slices.Contains(v.used[l], Partial) || slices.Contains(v.used[l], Copied) {
			return errors.New("an input is placed as Replicate or as a shard")
		}
	}
	v.order = v.at.natural()
	w.values[in.Node] = v
	typ, err := v.at.local(v.typ, w.axes)
	if err != nil {
		return err
	}
	if in.PerRow() {
		w.rows(v)
	}
	if !slices.Contains(w.stagesOf(layers), w.stage) {
		return nil
	}
	if v.node, err = graph.NewLeaf(w.part.Stage.Graph, in.Name, typ); err != nil {
		return err
	}
	parts := v.at.parts(v.typ.Dims(), w.axes, v.order)
	w.part.Stage.Inputs = append(w.part.Stage.Inputs, &graph.Input{Name: in.Name, Node: v.node, Parts: parts})
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
