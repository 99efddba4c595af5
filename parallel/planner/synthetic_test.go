package planner

import (
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/parallel/search"
)

// synthetic is a Source of a made-up Transformer: what a block does follows from
// its width.
type synthetic struct {
	width, sequence, vocabulary, heads, blocks int
	layers                                     []int // kinds of the blocks, widths as multiples; nil for equal ones
}

func (x synthetic) model() Model {
	m := Model{Name: "synthetic", Facts: parallel.Facts{Blocks: x.blocks, Seq: x.sequence}, Kinds: []int{0}}
	m.Facts.Layers = append(m.Facts.Layers, parallel.Layer{Name: "embedding"})
	for i := range x.blocks {
		kind := 1
		if x.layers != nil {
			kind = x.layers[i]
		}
		m.Kinds = append(m.Kinds, kind)
		m.Facts.Layers = append(m.Facts.Layers, parallel.Layer{Name: "block", Heads: x.heads})
	}
	m.Kinds = append(m.Kinds, 100)
	m.Facts.Layers = append(m.Facts.Layers, parallel.Layer{Name: "head"})
	return m
}

// Work counts a layer.
func (x synthetic) Work(kind int, s parallel.Strategy, _, rows int) (*Work, error) {
	dp, tp := s.Degree(parallel.RoleDP), s.Degree(parallel.RoleTP)
	w := &Work{}
	width := int64(x.width)
	tokens := int64(rows/dp) * int64(x.sequence)
	params := 12 * width * width * int64(max(1, kind)) / int64(tp)
	if kind == 0 || kind == 100 {
		params = width * int64(x.vocabulary) / int64(tp)
	}
	group := cluster.Group{Ranks: dp, Stride: tp}
	inner := cluster.Group{Ranks: tp, Stride: 1}
	if s.Order == "tp,dp" {
		group.Stride, inner.Stride = 1, dp
	}
	w.Params = params
	w.Border = tokens * width * 4
	w.Whole = w.Border * int64(dp)
	w.Activation = 16 * w.Border * int64(max(1, kind)) / int64(tp)
	if kind != 0 {
		w.Ops = []cost.Op{
			{Kind: "linear", Count: 4, FLOPs: 2 * params * tokens, Bytes: params * 4},
			{Kind: "linear_input_grad", Pass: graph.Backward, Count: 8, FLOPs: 4 * params * tokens, Bytes: params * 8},
		}
	}
	if s.Checkpoint {
		w.Peak, w.Activation = w.Activation, w.Border
		w.Ops = append(w.Ops, cost.Op{Kind: "linear", Again: true, Pass: graph.Backward, Count: 4, FLOPs: 2 * params * tokens, Bytes: params * 4})
	}
	if tp > 1 {
		for _, pass := range []graph.Pass{graph.Forward, graph.Backward} {
			w.Exchanges = append(w.Exchanges, cost.Exchange{Exchange: cluster.Exchange{Kind: "all_reduce", Bytes: w.Border, Group: inner}, Pass: pass, Count: 2})
		}
	}
	share := int64(1)
	switch {
	case dp > 1 && s.ZeRO == 3:
		share = int64(dp)
		for _, pass := range []graph.Pass{graph.Forward, graph.Backward} {
			w.Exchanges = append(w.Exchanges, cost.Exchange{Exchange: cluster.Exchange{Kind: "all_gather", Bytes: params * 4, Group: group}, Pass: pass, Count: 1, Beside: true})
		}
		w.Exchanges = append(w.Exchanges, cost.Exchange{Exchange: cluster.Exchange{Kind: "reduce_scatter", Bytes: params * 4, Group: group}, Pass: graph.Backward, Count: 1, Beside: true})
		w.Peak += params * 4
	case dp > 1:
		w.Exchanges = append(w.Exchanges, cost.Exchange{Exchange: cluster.Exchange{Kind: "all_reduce", Bytes: params * 4, Group: group}, Pass: graph.Backward, Count: 1, Once: true, Beside: true})
	}
	w.States = 16 * params / share
	w.Params /= share
	return w, nil
}

// options are those of a search for a made-up model.
func (x synthetic) options(devices int, memory int64, batches ...int) *Options {
	return &Options{
		Model: x.model(), Source: x, Machine: cost.Machine{Cluster: testCluster(), Precision: "fp32"},
		Space: search.Space{Devices: devices, Checkpoint: true}, Batches: batches, Memory: memory,
	}
}
