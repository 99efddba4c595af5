package graph

import (
	"errors"
	"strings"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// flat is an operation without gradient.
type flat struct{ Spec }

func (flat) Kind() string { return "flat" }

// TestGradientError shows that an operation without gradient is found where a
// parameter needs one, and only there.
func TestGradientError(t *testing.T) {
	differentiate := func(build func(b *Builder, x, w *G.Node) *G.Node) error {
		b := NewBuilder(tensor.Float64)
		b.Layer("all", "all", "")
		x, w := b.Input("x", tensor.Float64, 1, 2, 3), b.Param("w", Init{}, 3, 4)
		logits := build(b, x, w)
		b.Loss(b.Apply("loss", CrossEntropy{}, logits, b.Input(InputTargets, tensor.Int32, 1, 2), b.Scalar(InputScale)))
		m, err := b.Model()
		if err != nil {
			t.Fatal(err)
		}
		return Whole(m).Differentiate()
	}
	act := flat{Activation{SiLU}}
	err := differentiate(func(b *Builder, x, w *G.Node) *G.Node {
		return b.Apply("act", act, b.Apply("fc", Linear{Contract: 1}, x, w))
	})
	var missing *GradientError
	if !errors.As(err, &missing) || err.Error() != "layer 0 act: flat has no gradient: let graph.flat implement graph.Differentiable" {
		t.Errorf("after the parameter: %v", err)
	}
	err = differentiate(func(b *Builder, x, w *G.Node) *G.Node {
		y := b.Apply("fc", Linear{Contract: 1}, x, w)
		return b.Apply("sum", Add{}, y, b.Apply("act", act, y)) // y's gradient would lack a term
	})
	if !errors.As(err, &missing) {
		t.Errorf("beside a residual: %v", err)
	}
	err = differentiate(func(b *Builder, x, w *G.Node) *G.Node {
		return b.Apply("fc", Linear{Contract: 1}, b.Apply("act", act, x), w)
	})
	if err != nil {
		t.Errorf("before the parameter: %v", err)
	}
	err = differentiate(func(b *Builder, x, w *G.Node) *G.Node {
		y := b.Apply("fc", Linear{Contract: 1}, x, w)
		norm := b.Apply("norm", RMSNorm{Eps: 1e-5}, y, b.Param("gain", Init{}, 4))
		// Statistics of rows, as if they were data.
		return b.Apply("sum", Add{}, y, b.Apply("stats", outer{}, b.Side(norm, 0), y))
	})
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "a side output has no gradient") {
		t.Errorf("through a side output: %v", err)
	}
}

// outer has y's type, and a gradient for all.
type outer struct{ Add }

func (outer) Infer(in []Type) (Type, []Type, error) { return in[1], nil, nil }
