package local_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const rows, seq, vocab = 4, 6, 13

// build is a GPT with dropout for micro-batches of that many rows.
func build(t *testing.T, rows int) *graph.Model {
	t.Helper()
	m, err := models.Build(&models.GPTConfig{
		VocabSize: vocab, NPositions: seq, NEmbd: 8, NLayer: 2, NHead: 2,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.2, TieWordEmbeddings: true,
	}, models.Options{Batch: rows, Seq: seq, Dropout: 0.1, Train: true})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tokens are a batch of rows to learn.
func tokens() local.Batch {
	r := rand.New(rand.NewPCG(1, 2))
	b := local.Batch{Ints: map[string][]int32{}}
	for range rows * seq {
		b.Ints[graph.InputTokens] = append(b.Ints[graph.InputTokens], int32(r.IntN(vocab)))
		b.Ints[graph.InputTargets] = append(b.Ints[graph.InputTargets], int32(r.IntN(vocab)))
	}
	b.Ints[graph.InputTargets][3] = graph.IgnoreIndex
	return b
}

func plan(t *testing.T, text string) *parallel.Plan {
	t.Helper()
	p, err := parallel.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func trainer(t *testing.T, o local.Options) *local.Trainer {
	t.Helper()
	l, err := local.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

var adamW = exec.AdamW{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Clip: 1}

// TestPlansTrainAlike takes two steps under plans of every kind, and compares
// with one rank: losses, norms, the loss without dropout, gradients.
func TestPlansTrainAlike(t *testing.T) {
	run := func(text string) (all []float64, grads map[string][]float32) {
		p := plan(t, text)
		l := trainer(t, local.Options{Model: build(t, rows/p.Micro), Plan: p, Seed: 3})
		for i := range 2 {
			s, err := l.Step(t.Context(), tokens(), adamW)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if all = append(all, s.Loss, s.GradNorm); i == 0 {
				grads = l.Gradients()
			}
		}
		loss, err := l.Loss(t.Context(), tokens())
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return append(all, loss), grads
	}
	want, wantGrads := run("dp=1")
	for _, text := range []string{"micro=2", "dp=2 zero=1", "dp=2 micro=2 zero=3 ckpt=all", "pp=2 micro=2", "tp=2 sequence_parallel=on", "cp=3", "pp=2 dp=2 sp=2 micro=2"} {
		got, grads := run(text)
		for i := range want {
			if !(math.Abs(got[i]-want[i]) < 1e-4*want[i]) {
				t.Errorf("%s: losses and norms %v, on one rank %v", text, got, want)
				break
			}
		}
		for name, w := range wantGrads {
			for j := range w {
				if math.Abs(float64(grads[name][j]-w[j])) > 1e-5 {
					t.Errorf("%s: gradient of %s, element %d: %g, on one rank %g", text, name, j, grads[name][j], w[j])
					break
				}
			}
		}
	}
}

// TestParams shows that parameters are drawn as models say, and learn.
func TestParams(t *testing.T) {
	m := build(t, rows)
	l := trainer(t, local.Options{Model: m, Plan: plan(t, "dp=2 zero=3"), Seed: 3})
	before := l.Params()
	for _, p := range m.Params {
		want := make([]float32, p.Size())
		models.InitValue(p, 3, want)
		for i, v := range before[p.Name] {
			if v != want[i] {
				t.Fatalf("%s, element %d: %g, want %g", p.Name, i, v, want[i])
			}
		}
	}
	if _, err := l.Step(t.Context(), tokens(), adamW); err != nil {
		t.Fatal(err)
	}
	for name, after := range l.Params() {
		if after[0] == before[name][0] {
			t.Errorf("%s does not change", name)
		}
	}
}

func TestInputErrors(t *testing.T) {
	l := trainer(t, local.Options{Model: build(t, rows)})
	for want, change := range map[string]func(b local.Batch){
		"tokens: 23 elements for 1 micro-batches of int32[4 6]: needs 24": func(b local.Batch) { b.Ints["tokens"] = b.Ints["tokens"][:23] },
		"token: the model has no such input":                              func(b local.Batch) { b.Ints["token"] = nil },
		"targets: there are none":                                         func(b local.Batch) { delete(b.Ints, "targets") },
	} {
		b := tokens()
		change(b)
		_, err := l.Step(t.Context(), b, adamW)
		var e *local.InputError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := l.Step(t.Context(), tokens(), adamW); err != nil {
		t.Errorf("after errors of input: %v", err)
	}
}

// foreign is an operation that lacks everything but its mathematics.
type foreign struct{ graph.Spec }

func (foreign) Kind() string { return "foreign" }

// graded has a gradient.
type graded struct{ graph.Differentiable }

func (graded) Kind() string { return "graded" }

// ruled has a rule, too.
type ruled struct{ graded }

func (ruled) Rule(types []graph.Type, at []parallel.Placement) ([]parallel.Placement, parallel.Placement) {
	return parallel.Elementwise(types, at)
}

// TestMissing shows what an operation from outside that lacks something gives.
func TestMissing(t *testing.T) {
	silu := graph.Activation{F: graph.SiLU}
	try := func(s graph.Spec) error {
		m := build(t, rows)
		b, err := withOperation(m, s)
		if err != nil {
			t.Fatal(err)
		}
		l, err := local.New(local.Options{Model: b, Plan: plan(t, "dp=2")})
		if err == nil {
			t.Error("it is complete:", l.Close())
		}
		return err
	}
	var rule *parallel.RuleError
	if err := try(foreign{silu}); !errors.As(err, &rule) {
		t.Errorf("no rule: %v", err)
	}
	var gradient *graph.GradientError
	if err := try(onlyRuled{foreign{silu}}); !errors.As(err, &gradient) {
		t.Errorf("no gradient: %v", err)
	}
	var kernel *cpu.KernelError
	if err := try(ruled{graded{silu}}); !errors.As(err, &kernel) {
		t.Errorf("no kernel: %v", err)
	}
}

// onlyRuled has a rule and no gradient.
type onlyRuled struct{ foreign }

func (onlyRuled) Rule(types []graph.Type, at []parallel.Placement) ([]parallel.Placement, parallel.Placement) {
	return parallel.Elementwise(types, at)
}

// withOperation applies s to the logits that the loss is of.
func withOperation(m *graph.Model, s graph.Spec) (*graph.Model, error) {
	tag := graph.Tag{Layer: len(m.Layers) - 1, Name: "own"}
	y, err := graph.Apply(s, tag, m.Logits)
	if err != nil {
		return nil, err
	}
	in := graph.Children(m.Loss)
	in[0] = y
	m.Logits = nil
	m.Loss, err = graph.Rebuild(m.Loss, in...)
	return m, err
}

func TestNewErrors(t *testing.T) {
	if _, err := local.New(local.Options{}); err == nil || !strings.Contains(err.Error(), "a loss") {
		t.Errorf("no model: %v", err)
	}
	m := build(t, rows)
	var batch *parallel.BatchError
	if _, err := local.New(local.Options{Model: m, Plan: plan(t, "dp=3")}); !errors.As(err, &batch) {
		t.Errorf("rows that do not divide: %v", err)
	}
	broken := errors.New("broken")
	if _, err := local.New(local.Options{Model: m, NewBackend: func() (exec.Backend, error) { return nil, broken }}); !errors.Is(err, broken) {
		t.Errorf("a back end that does not start: %v", err)
	}
	m.Layers = m.Layers[:2]
	if _, err := local.New(local.Options{Model: m}); err == nil || !strings.Contains(err.Error(), "2 layers") {
		t.Errorf("two layers: %v", err)
	}
	l := trainer(t, local.Options{Model: build(t, rows)})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Step(t.Context(), tokens(), adamW); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a step after Close: %v", err)
	}
}
