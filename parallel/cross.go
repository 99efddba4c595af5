package parallel

import (
	"fmt"

	"github.com/galvani-ml/galvani/graph"
)

// fetch gives a value on the stage of an operation that uses it: a leaf as
// operations take it, a result of another stage by a pair of send and receive.
func (w *walker) fetch(v *value, tag graph.Tag) (*value, error) {
	stage := w.stageOf[tag.Layer]
	if v.stage == stage {
		return v, nil
	}
	key := place{v, stage}
	if f := w.fetched[key]; f != nil {
		return f, nil
	}
	f := &value{name: v.name, typ: v.typ, at: v.at, order: v.order, stage: stage}
	var err error
	switch {
	case v.stage == leafStage:
		if stage == w.stage {
			f.node = v.node
		}
		f, err = w.convert(f, v.used, tag)
	case v.stage > stage:
		err = fmt.Errorf("stage %d uses %s of the later stage %d", stage, v.name, v.stage)
	default:
		err = w.cross(v, f, tag)
	}
	if err != nil {
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
