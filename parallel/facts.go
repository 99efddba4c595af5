package parallel

import (
	"fmt"
	"strconv"

	"github.com/galvani-ml/galvani/graph"
)

// Facts is what a plan must fit of a model.
type Facts struct {
	Blocks int     // layers without the embedding and the head
	Seq    int     // tokens of a sequence; 0 if not known
	Layers []Layer // all layers, embedding and head included; empty if not known
}

// Layer is what a strategy must fit of a layer.
type Layer struct {
	Name string
	// Splits are the dimensions that tensor parallelism splits.
	Splits []Split
	// Heads is the number of attention heads, 0 without attention.
	Heads int
}

// Split is a dimension of a parameter that tensor parallelism splits.
type Split struct {
	Param string
	Size  int
}

// FactsOf returns the facts of a model.
func FactsOf(m *graph.Model) Facts {
	f := Facts{Blocks: len(m.Layers) - 2}
	if in := m.Input(graph.InputTokens); in != nil {
		f.Seq = graph.TypeOf(in.Node).Shape[1]
	}
	for _, l := range m.Layers {
		f.Layers = append(f.Layers, Layer{Name: l.Name})
	}
	for _, p := range m.Params {
		if d, ok := p.Split(); ok {
			l := &f.Layers[p.Layer]
			l.Splits = append(l.Splits, Split{p.Name, p.Shape[d]})
		}
	}
	for _, n := range m.Graph.AllNodes() {
		op := graph.OpOf(n)
		if op == nil {
			continue
		}
		if s, ok := op.Spec.(graph.Attention); ok {
			f.Layers[op.Tag.Layer].Heads = headsOf(s, op.In()[0])
		}
	}
	return f
}

// headsOf is the number of heads of attention over q of a type.
func headsOf(s graph.Attention, q graph.Type) int {
	if s.Packed {
		return q.Shape[3]
	}
	return q.Shape[2]
}

// isBlock reports whether a layer is neither the embedding nor the head.
func (f Facts) isBlock(layer int) bool { return layer > 0 && layer <= f.Blocks }

// layerName gives a layer's number and name, as "2 (h.1)".
func (f Facts) layerName(layer int) string {
	if layer >= len(f.Layers) {
		return strconv.Itoa(layer)
	}
	return fmt.Sprintf("%d (%s)", layer, f.Layers[layer].Name)
}
