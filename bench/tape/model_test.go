package tape_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/bench/tape"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

var (
	tiny = tape.Config{Batch: 2, Seq: 5, Width: 8, Heads: 2, Layers: 2, Vocab: 11}
	adam = tape.Adam{Rate: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}
)

// filled returns a model with random parameters and data, and those.
func filled(t *testing.T, c tape.Config) (m *tape.Model, params map[string][]float32, tokens, targets []int32) {
	t.Helper()
	m, err := tape.New(c, adam)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	r := rand.New(rand.NewPCG(1, 2))
	params = map[string][]float32{}
	for name, size := range m.Params {
		values := make([]float32, size)
		for i := range values {
			values[i] = float32(0.3 * r.NormFloat64())
		}
		params[name] = values
		if err := m.SetParam(name, values); err != nil {
			t.Fatal(err)
		}
	}
	for range c.Batch * c.Seq {
		tokens = append(tokens, r.Int32N(int32(c.Vocab)))
		targets = append(targets, r.Int32N(int32(c.Vocab)))
	}
	if err := m.Feed(tokens, targets); err != nil {
		t.Fatal(err)
	}
	return m, params, tokens, targets
}

// reference evaluates Galvani's GPT of the same size in float64 by the
// operations' own definitions.
func reference(t *testing.T, c tape.Config, params map[string][]float32, tokens, targets []int32) (loss float64, grads map[string][]float64) {
	t.Helper()
	cfg := &models.GPTConfig{
		VocabSize: c.Vocab, NPositions: c.Seq, NEmbd: c.Width, NLayer: c.Layers, NHead: c.Heads,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: c.Tied,
	}
	model, err := models.Build(cfg, models.Options{Batch: c.Batch, Seq: c.Seq, Dtype: tensor.Float64, Train: true})
	if err != nil {
		t.Fatal(err)
	}
	stage := graph.Whole(model)
	if err := stage.Differentiate(); err != nil {
		t.Fatal(err)
	}
	values := map[*G.Node]G.Value{
		model.Input(graph.InputTokens).Node:  matrix(c, tokens),
		model.Input(graph.InputTargets).Node: matrix(c, targets),
		model.Input(graph.InputScale).Node:   G.NewF64(1 / float64(c.Batch*c.Seq)),
		stage.Seeds[0]:                       G.NewF64(1),
	}
	for _, p := range model.Params {
		wide := make([]float64, p.Size())
		if len(params[p.Name]) != len(wide) {
			t.Fatalf("%s has %d elements, the model %d", p.Name, len(params[p.Name]), len(wide))
		}
		for i, v := range params[p.Name] {
			wide[i] = float64(v)
		}
		values[p.Node] = tensor.New(tensor.WithShape(p.Shape...), tensor.WithBacking(wide))
	}
	evaluate(t, stage, values)
	grads = map[string][]float64{}
	for _, s := range stage.Params {
		grads[s.Param.Name] = values[s.Grad].Data().([]float64)
	}
	return values[model.Loss].Data().(float64), grads
}

func matrix(c tape.Config, v []int32) G.Value {
	return tensor.New(tensor.WithShape(c.Batch, c.Seq), tensor.WithBacking(v))
}

// evaluate adds the value of every node of the stage.
func evaluate(t *testing.T, stage *graph.Stage, values map[*G.Node]G.Value) {
	t.Helper()
	forward, backward := stage.Roots()
	for _, n := range graph.Order(append(forward, backward...)...) {
		if graph.IsLeaf(n) {
			continue
		}
		var in []G.Value
		for _, child := range graph.Children(n) {
			in = append(in, values[child])
		}
		v, err := n.Op().Do(in...)
		if err != nil {
			t.Fatal(err)
		}
		values[n] = v
	}
}

// TestAgainstReference holds the baseline to Galvani's mathematics: the same
// parameters give the same loss and gradients.
func TestAgainstReference(t *testing.T) {
	tied := tiny
	tied.Tied = true
	for _, c := range []tape.Config{tiny, tied} {
		m, params, tokens, targets := filled(t, c)
		wantLoss, wantGrads := reference(t, c, params, tokens, targets)
		if len(params) != len(wantGrads) {
			t.Errorf("%d parameters, want %d", len(params), len(wantGrads))
		}
		for range 2 { // a machine that runs again gives the same
			compare(t, m, wantLoss, wantGrads)
		}
	}
}

// compare runs the model forward and backward and checks the loss and every
// gradient.
func compare(t *testing.T, m *tape.Model, wantLoss float64, wantGrads map[string][]float64) {
	t.Helper()
	if err := m.Backward(); err != nil {
		t.Fatal(err)
	}
	loss, err := m.Loss()
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(loss-wantLoss) > 1e-5*wantLoss {
		t.Errorf("loss %.8g, want %.8g", loss, wantLoss)
	}
	for name, want := range wantGrads {
		got := make([]float32, len(want))
		if err := m.Grad(name, got); err != nil {
			t.Fatal(err)
		}
		if d := worst(got, want); d > 1e-4 {
			t.Errorf("the gradient of %s is off by %.2g of its largest element", name, d)
		}
	}
}

// worst is the largest difference over the largest element.
func worst(got []float32, want []float64) float64 {
	var diff, largest float64
	for i, w := range want {
		diff = max(diff, math.Abs(float64(got[i])-w))
		largest = max(largest, math.Abs(w))
	}
	return diff / max(largest, 1e-6)
}

// TestUpdate takes the first step of Adam, which moves each parameter by
// rate * g / (|g| + eps), and checks the loss and the gradients there.
func TestUpdate(t *testing.T) {
	m, params, tokens, targets := filled(t, tiny)
	_, grads := reference(t, tiny, params, tokens, targets)
	for name, values := range params {
		for i, g := range grads[name] {
			values[i] -= float32(adam.Rate * g / (math.Abs(g) + adam.Eps))
		}
	}
	if err := m.Backward(); err != nil {
		t.Fatal(err)
	}
	if err := m.Update(); err != nil {
		t.Fatal(err)
	}
	wantLoss, wantGrads := reference(t, tiny, params, tokens, targets)
	compare(t, m, wantLoss, wantGrads)
}

func TestErrors(t *testing.T) {
	m, _, tokens, targets := filled(t, tiny)
	outside := append([]int32{int32(tiny.Vocab)}, tokens[1:]...)
	bad := tiny
	bad.Heads = 3
	_, sizes := tape.New(bad, adam)
	for want, err := range map[string]error{
		"3 heads":           sizes,
		"needs 10 of each":  m.Feed(tokens[1:], targets),
		"outside":           m.Feed(outside, targets),
		`named "wtf"`:       m.SetParam("wtf", nil),
		"wpe.weight has 40": m.Grad("wpe.weight", nil),
		"before Backward":   m.Grad("wpe.weight", make([]float32, 40)),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	if _, err := m.Loss(); err == nil {
		t.Error("a loss before Backward")
	}
}
