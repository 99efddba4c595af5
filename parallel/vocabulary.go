package parallel

import (
	"slices"

	"github.com/galvani-ml/galvani/graph"
	"gorgonia.org/tensor"
)

// addDenominators gives a cross-entropy whose logits are sharded along the
// vocabulary what it needs besides: the logarithms of all parts' softmax
// denominators, of which it all-gathers one number a part and position. The
// logits themselves stay where they are.
func (w *walker) addDenominators(s graph.Spec, tag graph.Tag, locals []*value) ([]*value, error) {
	if _, ok := s.(graph.CrossEntropy); !ok {
		return locals, nil
	}
	logits := locals[0]
	count, at, joined := 1, make(Layout, len(w.axes)), make(Layout, len(w.axes))
	for i, p := range logits.at {
		d, sharded := p.Dim()
		switch {
		case sharded && d == logits.typ.Dims()-1:
			at[i] = Shard(0)
			count *= w.axes[i].Size
		case sharded: // a dimension goes before those of the logits
			at[i], joined[i] = Shard(d+1), Shard(d+1)
		}
	}
	if count == 1 {
		return locals, nil
	}
	tag.Name += ".log_sum_exp"
	shape := append(tensor.Shape{count}, logits.typ.Shape[:logits.typ.Dims()-1]...)
	parts, err := w.result(graph.LogSumExp{}, tag, graph.Type{Dtype: logits.typ.Dtype, Shape: shape}, at, []*value{logits})
	if err != nil {
		return nil, err
	}
	all, err := w.convert(parts, joined, tag)
	if err != nil {
		return nil, err
	}
	return append(locals, all), nil
}

// scatterLookup sums the parts of a look-up in a table that is sharded along the
// vocabulary to shards where the ids were shards.
func (w *walker) scatterLookup(s graph.Spec, tag graph.Tag, in []*value, out *value) (*value, error) {
	if _, ok := s.(graph.Embedding); !ok {
		return out, nil
	}
	want := slices.Clone(out.at)
	for i, p := range in[0].at {
		if _, sharded := p.Dim(); sharded && want[i] == Partial {
			want[i] = p
		}
	}
	return w.convert(out, want, tag)
}
