package models_test

import (
	"math"
	"math/rand/v2"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

func tinyGPT(tied bool) *models.GPTConfig {
	return &models.GPTConfig{
		VocabSize: 7, NPositions: 6, NEmbd: 6, NLayer: 2, NHead: 2, ActivationFunction: "gelu_new",
		LayerNormEpsilon: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: tied,
	}
}

func tinyBERT(tied bool) *models.BERTConfig {
	return &models.BERTConfig{
		VocabSize: 7, MaxPositionEmbeddings: 6, TypeVocabSize: 2, HiddenSize: 6, NumHiddenLayers: 1, NumAttentionHeads: 2,
		IntermediateSize: 10, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02, TieWordEmbeddings: tied,
	}
}

// TestGradients compares gradients of whole models, by Gorgonia's TapeMachine,
// with central differences of the loss, for a sample of every parameter's
// elements.
func TestGradients(t *testing.T) {
	for _, c := range []struct {
		name    string
		cfg     models.Config
		options models.Options
	}{
		{"gpt tied", tinyGPT(true), models.Options{}},
		{"gpt untied, dropout, mask", tinyGPT(false), models.Options{Dropout: 0.2, Mask: true}},
		{"bert tied, mask", tinyBERT(true), models.Options{Mask: true}},
		{"bert untied, dropout", tinyBERT(false), models.Options{Dropout: 0.2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.Batch, c.options.Seq, c.options.Dtype, c.options.Train = 2, 5, tensor.Float64, true
			m, err := models.Build(c.cfg, c.options)
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 2))
			f := drawn(r, m, c.cfg.Vocab())
			stage := graph.Whole(m)
			if err := stage.Differentiate(); err != nil {
				t.Fatal(err)
			}
			f[stage.Seeds[0]] = []float64{1}
			var grads []*G.Node
			for _, p := range stage.Params {
				grads = append(grads, p.Grad)
			}
			got := tape(t, m.Graph, f, grads...)
			for i, p := range m.Params {
				x := f[p.Node].([]float64)
				for range 3 {
					j := r.IntN(len(x))
					want := slope(&x[j], func() float64 { return plain(t, f, m.Loss)[0][0] })
					if math.Abs(got[i][j]-want) > 1e-7*(1+math.Abs(want)) {
						t.Errorf("gradient of %s, element %d: %.9g, by differences %.9g", p.Name, j, got[i][j], want)
					}
				}
			}
		})
	}
}

// slope is the central difference of f at *x.
func slope(x *float64, f func() float64) float64 {
	const h = 1e-5
	kept := *x
	defer func() { *x = kept }()
	*x = kept + h
	up := f()
	*x = kept - h
	return (up - f()) / (2 * h)
}
