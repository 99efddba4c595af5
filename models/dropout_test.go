package models_test

import (
	"math/rand/v2"
	"testing"

	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// TestDropoutOfSplitBatch shows that two halves of a batch, told their first
// rows, drop what the whole batch drops.
func TestDropoutOfSplitBatch(t *testing.T) {
	const batch, seq = 4, 3
	for _, cfg := range []models.Config{tinyGPT(true), tinyBERT(true)} {
		logits := func(rows, first int, whole feed, of *graph.Model) ([]float64, feed, *graph.Model) {
			m, err := models.Build(cfg, models.Options{Batch: rows, Seq: seq, Dropout: 0.5, Dtype: tensor.Float64})
			if err != nil {
				t.Fatal(err)
			}
			f := drawn(rand.New(rand.NewPCG(5, 6)), m, cfg.Vocab())
			f[m.Input(graph.InputRNG).Node] = []int32{1, 2, 3, int32(first), 1}
			if whole != nil {
				for _, in := range m.Inputs {
					if in.PerRow() {
						all := whole[of.Input(in.Name).Node].([]int32)
						f[in.Node] = all[first*seq : (first+rows)*seq]
					}
				}
			}
			return plain(t, f, m.Logits)[0], f, m
		}
		want, whole, m := logits(batch, 0, nil, nil)
		top, _, _ := logits(batch/2, 0, whole, m)
		bottom, _, _ := logits(batch/2, batch/2, whole, m)
		for i, v := range append(top, bottom...) {
			if v != want[i] {
				t.Fatalf("%s: logit %d of the halves is %g, of the whole %g", cfg.Type(), i, v, want[i])
			}
		}
	}
}
