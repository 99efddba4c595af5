package models_test

import (
	"testing"

	G "gorgonia.org/gorgonia"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// TestFLOPs counts the matrix products of the graph: 2 operations a weight
// forward, and twice that backward.
func TestFLOPs(t *testing.T) {
	for _, name := range []string{"gpt2", "bert-base"} {
		cfg := preset(t, name)
		seq := cfg.MaxSeq() / 2
		m, err := models.Build(cfg, models.Options{Batch: 1, Seq: seq})
		if err != nil {
			t.Fatal(err)
		}
		var want float64
		for _, n := range graph.Order(m.Logits) {
			if s, ok := spec[graph.Linear](n); ok {
				rows, cols, inner := s.Sizes(graph.OpOf(n).In()[0], graph.OpOf(n).In()[1])
				want += 6 * float64(rows) * float64(cols) * float64(inner)
			}
			if _, ok := spec[graph.Attention](n); ok { // q k^T and p v, [T, D] by [D, T] and back
				out := graph.OpOf(n).Out()
				want += 3 * 2 * 2 * float64(out.Size()) * float64(seq)
			}
		}
		if got := models.FLOPsPerToken(cfg, seq) * float64(seq); got != want {
			t.Errorf("%s: %g, the graph has %g", name, got, want)
		}
	}
}

// spec returns n's operation if it is an S.
func spec[S graph.Spec](n *G.Node) (S, bool) {
	var none S
	op := graph.OpOf(n)
	if op == nil {
		return none, false
	}
	s, ok := op.Spec.(S)
	return s, ok
}
