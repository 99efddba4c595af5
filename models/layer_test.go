package models

import (
	"errors"
	"testing"

	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
)

// TestErrorNamesLayer builds a model that its checks would refuse, and looks
// at how the graph's error reads.
func TestErrorNamesLayer(t *testing.T) {
	c := gptDefaults()
	c.VocabSize, c.NPositions, c.NEmbd, c.NLayer, c.NHead = 5, 4, 6, 1, 2
	c.ActivationFunction = "relu"
	_, err := c.build(Options{Batch: 1, Seq: 2, Dtype: tensor.Float32})
	if e := (*graph.OpError)(nil); !errors.As(err, &e) || e.Tag.Layer != 1 {
		t.Fatalf("%T %v", err, err)
	}
	const want = `layer 1 h.0.mlp.act: activation: unknown function "" (operands [float32[1 2 24]])`
	if err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
