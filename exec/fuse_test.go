package exec_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	"gorgonia.org/tensor"
)

// TestFusionKeepsBits compares steps of two micro-batches with and without
// fused instructions: losses, norms, gradients and parameters are the same.
func TestFusionKeepsBits(t *testing.T) {
	b := backend(t, 2)
	for _, model := range models {
		for _, z := range []exectest.Size{
			{B: 2, T: 3, C: 24, H: 3, V: 31, Layers: 1},
			{B: 3, T: 21, C: 48, H: 3, V: 101, Layers: 2},
			{B: 2, T: 5, C: 24, H: 3, V: 31, Layers: 2, Dropout: 0.2},
			{B: 1, T: 40, C: 200, H: 2, V: 40, Layers: 1}, // 800 deep: two blocks
		} {
			t.Run(model.name, func(t *testing.T) {
				plain := steps(t, b, model.build, z, exec.Options{Train: true, Slots: 2, Disable: []exec.Pass{exec.Epilogue, exec.Elementwise}})
				fused := steps(t, b, model.build, z, exec.Options{Train: true, Slots: 2})
				if !slices.Equal(plain.stats, fused.stats) {
					t.Errorf("stats %v, fused %v", plain.stats, fused.stats)
				}
				for i := range plain.tensors {
					if !slices.Equal(plain.tensors[i], fused.tensors[i]) {
						t.Errorf("gradient or parameter %d differs", i)
					}
				}
				if f, p := fused.instructions, plain.instructions; f >= p {
					t.Errorf("%d instructions, fused %d", p, f)
				}
			})
		}
	}
}

// outcome is what training gave.
type outcome struct {
	stats        []exec.Stats
	tensors      [][]float32
	instructions int
}

// steps trains for three steps of two micro-batches.
func steps(t *testing.T, b exec.Backend, f build, z exectest.Size, o exec.Options) outcome {
	t.Helper()
	return stepsOf(t, trainable(t, f, z), z, b, o)
}

// stepsOf trains a stage.
func stepsOf(t *testing.T, s *graph.Stage, z exectest.Size, b exec.Backend, o exec.Options) (r outcome) {
	t.Helper()
	p := compile(t, s, b, o)
	checkPlan(t, b, p)
	forward, backward := p.Instructions()
	r.instructions = forward + backward
	m := machine(t, p, nil)
	rng := rand.New(rand.NewPCG(21, 22))
	exectest.SetParams(m, exectest.Draw(rng, s, z.V))
	for step := 1; step <= 3; step++ {
		for slot := range 2 {
			exectest.SetInputs(m, slot, exectest.Draw(rng, s, z.V))
			if err := m.Forward(t.Context(), exec.MicroBatch{Slot: slot, Index: slot}); err != nil {
				t.Fatal(err)
			}
		}
		for slot := range 2 {
			if err := m.Backward(t.Context(), exec.MicroBatch{Slot: slot, Index: slot}, slot == 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range m.Params() {
			r.tensors = append(r.tensors, slices.Clone(p.Grad))
		}
		stats, err := m.Update(t.Context(), exec.AdamW{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Clip: 1, Step: step})
		if err != nil {
			t.Fatal(err)
		}
		r.stats = append(r.stats, stats)
	}
	for _, p := range m.Params() {
		r.tensors = append(r.tensors, slices.Clone(p.Value))
	}
	return r
}

// TestFusedInstructions counts what is fused: in GPT the activation and both
// residual connections of a block, in its gradient the activation's; in BERT
// also sums of the gradients of query, key and value. With dropout between
// product and residual, these two are fused; in the gradient, where both branches
// meet, with the dropout that comes next: of a block, but for the last one, and of the
// embedding.
func TestFusedInstructions(t *testing.T) {
	b := backend(t, 1)
	for _, c := range []struct {
		name    string
		build   build
		dropout float64
		want    map[string]int
	}{
		{"GPT with dropout", exectest.GPT, 0.1, map[string]int{"linear+add": 0, "dropout+add": 4, "add+dropout": 4}},
		{"BERT with dropout", exectest.BERT, 0.1, map[string]int{"linear+add": 0, "dropout+add": 4, "add+dropout": 0}},
		{"GPT", exectest.GPT, 0, map[string]int{"linear+activation": 2, "linear+add": 4, "linear_input_grad+activation_grad": 2}},
		{"BERT", exectest.BERT, 0, map[string]int{"linear+activation": 2, "linear+add": 4, "linear_input_grad+activation_grad": 2, "linear_input_grad+add": 8}},
	} {
		z := exectest.Size{B: 1, T: 2, C: 4, H: 1, V: 5, Layers: 2, Dropout: c.dropout}
		text := compile(t, trainable(t, c.build, z), b, exec.Options{Train: true}).Describe()
		for kind, want := range c.want {
			if got := strings.Count(text, " "+kind+" "); got != want {
				t.Errorf("%s: %d times %s, want %d:\n%s", c.name, got, kind, want, text)
			}
		}
	}
}

// TestFusionInEvaluation shows that without gradients nothing is kept for them.
func TestFusionInEvaluation(t *testing.T) {
	b := backend(t, 1)
	model, err := exectest.GPT(exectest.Small, true)
	if err != nil {
		t.Fatal(err)
	}
	text := compile(t, graph.Whole(model), b, exec.Options{}).Describe()
	for line := range strings.Lines(text) {
		results, _, _ := strings.Cut(line, " =")
		if strings.Contains(line, "linear+activation") && strings.Count(results, "[") != 1 {
			t.Errorf("more than one result: %s", line)
		}
	}
}

func TestUnknownPass(t *testing.T) {
	for _, o := range []exec.Options{{Disable: []exec.Pass{"epilog"}}, {Enable: []exec.Pass{"epilog"}}} {
		_, err := exec.Compile(trainable(t, exectest.GPT, exectest.Small), backend(t, 1), o)
		if err == nil || !strings.Contains(err.Error(), `exec: there is no pass "epilog": the passes are recompute, epilogue, elementwise, narrow, inplace, pack, overlap`) {
			t.Errorf("error %v", err)
		}
	}
}

// TestFused evaluates a pair and compares its types with those of its parts.
func TestFused(t *testing.T) {
	f32 := func(shape ...int) graph.Type { return graph.Type{Dtype: tensor.Float32, Shape: shape} }
	f := exec.Fused{First: graph.Linear{Contract: 1}, Then: graph.Add{}, Operands: 2, Operand: 1}
	in := []graph.Type{f32(2, 1), f32(1, 2), f32(2, 2)}
	out, side, err := f.Infer(in)
	if err != nil || f.Kind() != "linear+add" || out.Size() != 4 || len(side) != 1 {
		t.Fatalf("%s gives %v and %v, error %v", f.Kind(), out, side, err)
	}
	e := graph.Eval{
		In:   []graph.Operand{{Type: in[0], Data: []float64{1, 2}}, {Type: in[1], Data: []float64{3, 4}}, {Type: in[2], Data: []float64{1, 1, 1, 1}}},
		Out:  graph.Operand{Type: out, Data: make([]float64, 4)},
		Side: []graph.Operand{{Type: side[0], Data: make([]float64, 4)}},
	}
	if err := f.Eval(&e); err != nil || !slices.Equal(e.Out.Data, []float64{4, 5, 7, 9}) || !slices.Equal(e.Side[0].Data, []float64{3, 4, 6, 8}) {
		t.Errorf("%v, %v, error %v", e.Out.Data, e.Side[0].Data, err)
	}
	// A chain: what is between the first two operations is nobody's result.
	f = exec.Fused{First: f, Then: graph.Add{}, Operands: 3, Operand: 1}
	in = append(in, in[2])
	e.In = append(e.In, e.In[2])
	if out, side, err = f.Infer(in); err != nil || f.Kind() != "linear+add+add" || out.Size() != 4 || len(side) != 1 {
		t.Fatalf("%s gives %v and %v, error %v", f.Kind(), out, side, err)
	}
	if err := f.Eval(&e); err != nil || !slices.Equal(e.Out.Data, []float64{5, 6, 8, 10}) || !slices.Equal(e.Side[0].Data, []float64{4, 5, 7, 9}) {
		t.Errorf("%v, %v, error %v", e.Out.Data, e.Side[0].Data, err)
	}
	if _, _, err := f.Infer(in[:1]); err == nil {
		t.Error("too few operands are accepted")
	}
	if _, _, err := f.Infer([]graph.Type{in[0], in[2], in[2]}); err == nil {
		t.Error("operands that do not fit are accepted")
	}
}
