package exec_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	"go.uber.org/goleak"
	G "gorgonia.org/gorgonia"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type build func(exectest.Size, bool) (*graph.Model, error)

var models = []struct {
	name  string
	build build
}{{"GPT", exectest.GPT}, {"BERT", exectest.BERT}}

// trainable builds a model as one differentiated stage.
func trainable(t testing.TB, f build, z exectest.Size) *graph.Stage {
	t.Helper()
	m, err := f(z, true)
	if err != nil {
		t.Fatal(err)
	}
	s := graph.Whole(m)
	if err := s.Differentiate(); err != nil {
		t.Fatal(err)
	}
	return s
}

func backend(t testing.TB, threads int) *cpu.Backend {
	t.Helper()
	b, err := cpu.New(threads)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func compile(t testing.TB, s *graph.Stage, b exec.Backend, o exec.Options) *exec.Program {
	t.Helper()
	p, err := exec.Compile(s, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func machine(t testing.TB, p *exec.Program, c exec.Comm) *exec.Machine {
	t.Helper()
	m, err := exec.New(p, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// pass runs a micro-batch forward and backward.
func pass(t testing.TB, m *exec.Machine, mb exec.MicroBatch) {
	t.Helper()
	if err := m.Forward(t.Context(), mb); err != nil {
		t.Fatal(err)
	}
	if err := m.Backward(t.Context(), mb, mb.Index == 0); err != nil {
		t.Fatal(err)
	}
}

// TestModels compares whole models with the TapeMachine: logits, loss and the
// gradient of every parameter.
func TestModels(t *testing.T) {
	b := backend(t, 2)
	for _, model := range models {
		for _, dropout := range []float64{0, 0.3} {
			t.Run(model.name, func(t *testing.T) {
				z := exectest.Small
				z.Dropout = dropout
				s := trainable(t, model.build, z)
				data := exectest.Draw(rand.New(rand.NewPCG(3, 4)), s, z.V)
				roots := []*G.Node{s.Logits, s.Loss}
				for _, p := range s.Params {
					roots = append(roots, p.Grad)
				}
				want := exectest.Reference(t, s.Graph, data, roots...)

				m := machine(t, compile(t, s, b, exec.Options{Train: true}), nil)
				exectest.SetParams(m, data)
				exectest.SetInputs(m, 0, data)
				if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil {
					t.Fatal(err)
				}
				exectest.Close(t, "logits", m.Logits(0), want[0], 3e-5)
				exectest.Close(t, "loss", []float32{m.Loss(0)}, want[1], 1e-5)
				if err := m.Backward(t.Context(), exec.MicroBatch{}, true); err != nil {
					t.Fatal(err)
				}
				for i, p := range m.Params() {
					exectest.Close(t, "gradient of "+p.Shard.Param.Name, p.Grad, want[2+i], 1e-4)
				}
			})
		}
	}
}

// rows gives a part of a batch its own values: rows [from, from+n) of the
// inputs that have rows, and all of the others.
func rows(part, whole *graph.Stage, data exectest.Values, from, n int) exectest.Values {
	values := exectest.Values{}
	for i, in := range part.Inputs {
		x := data[whole.Inputs[i].Node]
		switch {
		case in.PerRow():
			width := len(x) / graph.TypeOf(whole.Inputs[i].Node).Shape[0]
			x = x[from*width : (from+n)*width]
		case in.Name == graph.InputRNG:
			x = slices.Clone(x)
			x[3] += float64(from)
		}
		values[in.Node] = x
	}
	for i, p := range part.Params {
		values[p.Node] = data[whole.Params[i].Node]
	}
	return values
}

// TestMicroBatches shows that gradients and loss summed over micro-batches,
// several of them in flight, are those of the whole batch.
func TestMicroBatches(t *testing.T) {
	b := backend(t, 2)
	for _, model := range models {
		t.Run(model.name, func(t *testing.T) {
			z := exectest.Small
			z.B, z.Dropout = 6, 0.2
			whole := trainable(t, model.build, z)
			data := exectest.Draw(rand.New(rand.NewPCG(5, 6)), whole, z.V)
			big := machine(t, compile(t, whole, b, exec.Options{Train: true}), nil)
			exectest.SetParams(big, data)
			exectest.SetInputs(big, 0, data)
			pass(t, big, exec.MicroBatch{})
			want, err := big.Update(t.Context(), exec.AdamW{Step: 1})
			if err != nil {
				t.Fatal(err)
			}

			z.B = 2
			part := trainable(t, model.build, z)
			m := machine(t, compile(t, part, b, exec.Options{Train: true, Slots: 3}), nil)
			exectest.SetParams(m, rows(part, whole, data, 0, 2))
			for i := range 3 {
				exectest.SetInputs(m, i, rows(part, whole, data, 2*i, 2))
				if err := m.Forward(t.Context(), exec.MicroBatch{Slot: i, Index: i}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 3 {
				if err := m.Backward(t.Context(), exec.MicroBatch{Slot: i, Index: i}, i == 0); err != nil {
					t.Fatal(err)
				}
			}
			for i, p := range m.Params() {
				exectest.Close(t, p.Shard.Param.Name, p.Grad, widen(big.Params()[i].Grad), 1e-4)
			}
			got, err := m.Update(t.Context(), exec.AdamW{Step: 1})
			if err != nil {
				t.Fatal(err)
			}
			exectest.Close(t, "loss", []float32{float32(got.Loss)}, []float64{want.Loss}, 1e-6)
			exectest.Close(t, "norm", []float32{float32(got.GradNorm)}, []float64{want.GradNorm}, 1e-4)
		})
	}
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// TestForwardOnly shows that a program without gradients computes the same in
// less memory, with parameters of its own or borrowed ones.
func TestForwardOnly(t *testing.T) {
	b := backend(t, 1)
	for _, model := range models {
		t.Run(model.name, func(t *testing.T) {
			z := exectest.Small
			z.Layers = 6
			s := trainable(t, model.build, z)
			data := exectest.Draw(rand.New(rand.NewPCG(7, 8)), s, z.V)
			training := compile(t, s, b, exec.Options{Train: true})
			trainer := machine(t, training, nil)
			exectest.SetParams(trainer, data)
			exectest.SetInputs(trainer, 0, data)
			pass(t, trainer, exec.MicroBatch{})

			plain, err := model.build(z, true)
			if err != nil {
				t.Fatal(err)
			}
			stage := graph.Whole(plain)
			p := compile(t, stage, b, exec.Options{Borrow: true})
			if got := p.Memory(); got[exec.Parameters] != 0 || got[exec.Gradients] != 0 || got[exec.OptimizerState] != 0 {
				t.Errorf("a program that borrows and does not train plans %v", got)
			}
			transient := func(p *exec.Program) int64 {
				m := p.Memory()
				return m[exec.Activations] + m[exec.Workspace] - b.Overhead()
			}
			if few, many := transient(p), transient(training); 2*few > many {
				t.Errorf("the forward pass alone needs %d bytes, with the backward pass %d", few, many)
			}
			m, err := exec.Borrow(p, nil, trainer)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			exectest.SetInputs(m, 0, rows(stage, s, data, 0, z.B))
			if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil {
				t.Fatal(err)
			}
			if err := trainer.Forward(t.Context(), exec.MicroBatch{}); err != nil {
				t.Fatal(err)
			}
			if m.Loss(0) != trainer.Loss(0) || !slices.Equal(m.Logits(0), trainer.Logits(0)) {
				t.Error("logits or loss differ")
			}
		})
	}
}

// TestGeneration feeds a sequence to a decoder token by token, some at once,
// and compares every position's logits with those of the whole sequence.
func TestGeneration(t *testing.T) {
	b := backend(t, 2)
	z := exectest.Small
	z.T = 9
	model, err := exectest.GPT(z, false)
	if err != nil {
		t.Fatal(err)
	}
	s := graph.Whole(model)
	data := exectest.Draw(rand.New(rand.NewPCG(9, 10)), s, z.V)
	whole := machine(t, compile(t, s, b, exec.Options{}), nil)
	exectest.SetParams(whole, data)
	exectest.SetInputs(whole, 0, data)
	if err := whole.Forward(t.Context(), exec.MicroBatch{}); err != nil {
		t.Fatal(err)
	}

	tokens := whole.Input(0, graph.InputTokens).Ints
	for _, chunk := range []int{1, 3} {
		small := z
		small.T = chunk
		model, err := exectest.Decoder(small, z.T)
		if err != nil {
			t.Fatal(err)
		}
		p := compile(t, graph.Whole(model), b, exec.Options{Borrow: true})
		m, err := exec.Borrow(p, nil, whole)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for start := 0; start < z.T; start += chunk {
			m.Input(0, graph.InputStart).Ints[0] = int32(start)
			in := m.Input(0, graph.InputTokens).Ints
			for i := range in {
				in[i] = tokens[i/chunk*z.T+start+i%chunk]
			}
			if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil {
				t.Fatal(err)
			}
			for i := range in {
				at := i/chunk*z.T + start + i%chunk
				exectest.Close(t, "logits", m.Logits(0)[i*z.V:][:z.V], widen(whole.Logits(0)[at*z.V:][:z.V]), 1e-4)
			}
		}
		if m.State("h.0.keys") == nil || m.State("nothing") != nil {
			t.Error("State does not tell states from others")
		}
		m.Input(0, graph.InputStart).Ints[0] = int32(z.T + 1 - chunk)
		if err := m.Forward(t.Context(), exec.MicroBatch{}); err == nil {
			t.Error("tokens past the cache's end are accepted")
		}
	}
}

// TestDeterminism shows that threads change no bit of losses and parameters.
func TestDeterminism(t *testing.T) {
	z := exectest.Size{B: 3, T: 33, C: 48, H: 3, V: 101, Layers: 2, Dropout: 0.1}
	type result struct {
		stats  []exec.Stats
		params [][]float32
	}
	var results []result
	for _, threads := range []int{1, 2, 2} {
		s := trainable(t, exectest.GPT, z)
		m := machine(t, compile(t, s, backend(t, threads), exec.Options{Train: true}), nil)
		data := exectest.Draw(rand.New(rand.NewPCG(11, 12)), s, z.V)
		exectest.SetParams(m, data)
		exectest.SetInputs(m, 0, data)
		var got result
		for step := range 3 {
			pass(t, m, exec.MicroBatch{Step: step})
			stats, err := m.Update(t.Context(), exec.AdamW{LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Clip: 1, Step: step + 1})
			if err != nil {
				t.Fatal(err)
			}
			got.stats = append(got.stats, stats)
		}
		for _, p := range m.Params() {
			got.params = append(got.params, slices.Clone(p.Value))
		}
		results = append(results, got)
	}
	for _, r := range results[1:] {
		if !slices.Equal(r.stats, results[0].stats) {
			t.Errorf("stats %v, with one thread %v", r.stats, results[0].stats)
		}
		for i, p := range r.params {
			if !slices.Equal(p, results[0].params[i]) {
				t.Errorf("parameter %d differs between one thread and two", i)
			}
		}
	}
}

// TestNoAllocation shows that a step allocates nothing, on one thread or two.
func TestNoAllocation(t *testing.T) {
	z := exectest.Size{B: 2, T: 20, C: 32, H: 2, V: 60, Layers: 2, Dropout: 0.1}
	for i, model := range slices.Concat(models, models) {
		s, threads := trainable(t, model.build, z), 1+i/len(models)
		m := machine(t, compile(t, s, backend(t, threads), exec.Options{Train: true}), nil)
		data := exectest.Draw(rand.New(rand.NewPCG(13, 14)), s, z.V)
		exectest.SetParams(m, data)
		exectest.SetInputs(m, 0, data)
		ctx, step := t.Context(), 0
		n := testing.AllocsPerRun(3, func() {
			step++
			if err := errors.Join(
				m.Forward(ctx, exec.MicroBatch{Step: step}),
				m.Backward(ctx, exec.MicroBatch{Step: step}, true),
			); err != nil {
				t.Fatal(err)
			}
			if _, err := m.Update(ctx, exec.AdamW{LR: 1e-4, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Clip: 1, Step: step}); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s, %d threads: a step allocates %v times", model.name, threads, n)
		}
	}
}

func TestRunErrors(t *testing.T) {
	b := backend(t, 1)
	z := exectest.Small
	s := trainable(t, exectest.GPT, z)
	data := exectest.Draw(rand.New(rand.NewPCG(15, 16)), s, z.V)
	m := machine(t, compile(t, s, b, exec.Options{Train: true}), nil)
	exectest.SetParams(m, data)
	exectest.SetInputs(m, 0, data)

	tokens, targets := m.Input(0, graph.InputTokens).Ints, m.Input(0, graph.InputTargets).Ints
	for _, c := range []struct {
		name  string
		place *int32
		want  string
	}{
		{"token", &tokens[3], "exec: step 7, micro-batch 2, layer 0 wte: embedding: token id 17 at position 3 is outside the vocabulary of 17"},
		{"target", &targets[1], "exec: step 7, micro-batch 2, layer 3 loss: cross_entropy: target 17 at position 1 is outside the vocabulary of 17"},
	} {
		kept := *c.place
		*c.place = 17
		err := m.Forward(t.Context(), exec.MicroBatch{Step: 7, Index: 2})
		var run *exec.RunError
		if !errors.As(err, &run) || err.Error() != c.want {
			t.Errorf("%s: error %v, want %s", c.name, err, c.want)
		}
		*c.place = kept
	}
	targets[1] = graph.IgnoreIndex
	if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Forward(ctx, exec.MicroBatch{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context gives %v", err)
	}
	if err := m.Forward(t.Context(), exec.MicroBatch{Slot: 1}); err == nil {
		t.Error("a slot that does not exist is accepted")
	}
	if m.Input(5, graph.InputTokens).Ints != nil || m.Input(0, "nothing").Ints != nil || m.Logits(5) != nil || m.Loss(5) != 0 {
		t.Error("views of what does not exist")
	}
}

func TestProfile(t *testing.T) {
	s := trainable(t, exectest.GPT, exectest.Small)
	m := machine(t, compile(t, s, backend(t, 1), exec.Options{Train: true}), nil)
	m.Profile(true)
	pass(t, m, exec.MicroBatch{})
	pass(t, m, exec.MicroBatch{Index: 1})
	var count, flops int64
	for _, k := range m.Times() {
		if strings.HasPrefix(k.Kind, "linear") && k.Pass == graph.Forward && k.Time > 0 {
			count, flops = count+k.Count, flops+k.FLOPs
		}
	}
	z := exectest.Small
	rows, C := int64(z.B*z.T), int64(z.C)
	if want := 2 * 2 * rows * (2*(3*C*C+C*C+8*C*C) + C*int64(z.V)); count != 2*9 || flops != want {
		t.Errorf("%d FLOPs in %d products, want %d in 18", flops, count, want)
	}
	var kinds, layers time.Duration
	for _, k := range m.Times() {
		kinds += k.Time
	}
	seen := map[exec.LayerTime]bool{}
	for _, l := range m.LayerTimes() {
		layers += l.Time
		if l.Time <= 0 || l.Again || l.Once {
			t.Errorf("%+v", l)
		}
		l.Time = 0
		seen[l] = true
	}
	if kinds != layers || len(seen) != 2*(z.Layers+2) {
		t.Errorf("the kinds took %v, the layers %v, in %d passes of layers", kinds, layers, len(seen))
	}
	m.Profile(false)
	if m.Times() != nil || m.LayerTimes() != nil {
		t.Error("the profile is still there after it was stopped")
	}
}
