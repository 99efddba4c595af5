package parallel

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// enter gives a value as an operation takes it: on its stage, and in the layout
// that its layer's strategy has at its borders if n is of a layer with another.
func (w *walker) enter(v *value, n *G.Node, tag graph.Tag) (*value, error) {
	if v.stage == leafStage {
		return w.leafFor(v, tag)
	}
	from := graph.OpOf(n).Tag
	want := slices.Clone(v.at)
	for i, tables := range w.tables {
		if to := tables[tag.Layer].Activation(); to != tables[from.Layer].Activation() {
			want[i] = to
		}
	}
	steps := route(v.at, want, v.splitOrder())
	var err error
	for ; len(steps) > 0 && w.cuts(v, steps[0]); steps = steps[1:] { // what is smaller is cut before it is sent
		if v, err = w.convertStep(v, steps[0], from); err != nil {
			return nil, err
		}
	}
	if v, err = w.fetch(v, tag); err != nil {
		return nil, err
	}
	return w.convert(v, want, tag)
}

// cuts reports whether a conversion makes shards of what every rank has.
func (w *walker) cuts(v *value, s step) bool {
	_, from := v.at[s.axis].Dim()
	_, to := s.to.Dim()
	return to && !from
}

// leafFor gives a leaf as an operation's layer takes it.
func (w *walker) leafFor(v *value, tag graph.Tag) (*value, error) {
	stage := w.stageOf[tag.Layer]
	key := place{v: v, stage: stage, layer: -1}
	if v.once != nil {
		if key.once = v.once[tag.Layer]; key.once == graph.OnceNever {
			key.layer = tag.Layer
		}
		tag.Once = key.once
	}
	f := w.fetched[key]
	if f == nil {
		f = &value{name: v.name, typ: v.typ, at: v.at, order: v.order, stage: stage}
		if stage == w.stage {
			f.node = v.node
		}
		w.fetched[key] = f
	}
	used := v.used[tag.Layer]
	f, err := w.convert(f, inOrder(used, f.splitOrder()), tag)
	if err != nil {
		return nil, err
	}
	return w.convert(f, used, tag)
}

// inOrder returns the layout without the shards that axes would split in
// another order than the natural one, which operations rely on.
func inOrder(l Layout, order []int) Layout {
	l = slices.Clone(l)
	for k, i := range order {
		if _, sharded := l[i].Dim(); !sharded {
			continue
		}
		if p := l[i]; slices.ContainsFunc(order[:k], func(o int) bool { return o > i && l[o] == p }) {
			for j := range l {
				if l[j] == p {
					l[j] = Replicate
				}
			}
		}
	}
	return l
}

// fetch gives a result on the stage of an operation that uses it, by a pair of
// send and receive if it is another's.
func (w *walker) fetch(v *value, tag graph.Tag) (*value, error) {
	stage := w.stageOf[tag.Layer]
	if v.stage == stage {
		return v, nil
	}
	key := place{v: v, stage: stage, layer: -1}
	if f := w.fetched[key]; f != nil {
		return f, nil
	}
	if v.stage > stage {
		return nil, fmt.Errorf("stage %d uses %s of the later stage %d", stage, v.name, v.stage)
	}
	f := &value{name: v.name, typ: v.typ, at: v.at, order: v.order, stage: stage}
	if err := w.cross(v, f, tag); err != nil {
		return nil, err
	}
	w.fetched[key] = f
	return f, nil
}

// cross sends v from its stage to that of f, in the layout it has there. Edges
// are numbered in the order of the walk, which all ranks share.
func (w *walker) cross(v, f *value, tag graph.Tag) error {
	pair := [2]int{v.stage, f.stage}
	edge := w.edges[pair]
	w.edges[pair]++
	name := fmt.Sprintf("%s@%s:%d-%d", v.name, AxisPP, v.stage, f.stage)
	st := w.part.Stage
	switch w.stage {
	case v.stage:
		from := graph.OpOf(v.node).Tag
		from.Name = name
		token, err := graph.Apply(graph.Send{Peer: f.stage, Edge: edge}, from, v.node)
		if err != nil {
			return err
		}
		st.Sends = append(st.Sends, token)
	case f.stage:
		local, err := v.at.local(v.typ, w.axes)
		if err != nil {
			return err
		}
		token, err := graph.NewLeaf(st.Graph, fmt.Sprintf("token.%d.%d", v.stage, edge), graph.Type{Dtype: v.typ.Dtype})
		if err != nil {
			return err
		}
		tag.Name = name
		if f.node, err = graph.Apply(graph.Recv{Peer: v.stage, Edge: edge, Shape: local.Shape}, tag, token); err != nil {
			return err
		}
		st.Tokens = append(st.Tokens, token)
	}
	return nil
}
