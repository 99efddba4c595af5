package exec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	"gorgonia.org/tensor"
)

// unknown is an operation that no back end has a kernel for.
type unknown struct{ graph.Add }

func (unknown) Kind() string { return "unknown" }

func TestCompileErrors(t *testing.T) {
	b := backend(t, 1)
	f32 := graph.Type{Dtype: tensor.Float32, Shape: []int{2}}
	for _, c := range []struct {
		name  string
		stage func() (*graph.Stage, error)
		o     exec.Options
		want  string
	}{
		{"parameter without gradient", func() (*graph.Stage, error) {
			b := graph.NewBuilder(tensor.Float32)
			b.Layer("all", "all", "")
			b.Logits(b.Apply("add", graph.Add{}, b.Param("used", graph.Init{}, 2), b.Param("idle", graph.Init{}, 2)))
			m, err := b.Model()
			s := graph.Whole(m)
			s.Params[0].Grad = s.Params[0].Node
			return s, err
		}, exec.Options{Train: true}, "exec: compiling idle: the parameter has no gradient"},
		{"unknown operation", func() (*graph.Stage, error) {
			b := graph.NewBuilder(tensor.Float32)
			b.Layer("all", "all", "")
			x := b.Param("x", graph.Init{}, 2)
			b.Logits(b.Apply("odd", unknown{}, x, x))
			m, err := b.Model()
			return graph.Whole(m), err
		}, exec.Options{}, "exec: compiling layer 0 odd: unknown: no kernel on the CPU for operations of kind unknown: let exec_test.unknown implement cpu.Lowerer"},
		{"stray leaf", func() (*graph.Stage, error) {
			b := graph.NewBuilder(tensor.Float32)
			b.Layer("all", "all", "")
			m, err := b.Model()
			if err != nil {
				return nil, err
			}
			s := graph.Whole(m)
			n, err := graph.NewLeaf(m.Graph, "stray", f32)
			if err != nil {
				return nil, err
			}
			s.Logits, err = graph.Apply(graph.Add{}, graph.Tag{}, n, n)
			return s, err
		}, exec.Options{}, "exec: compiling stray: the leaf is no parameter, input, state or seed"},
		{"float64", func() (*graph.Stage, error) {
			b := graph.NewBuilder(tensor.Float64)
			b.Layer("all", "all", "")
			b.Logits(b.Apply("act", graph.Activation{F: graph.SiLU}, b.Param("x", graph.Init{}, 2)))
			m, err := b.Model()
			return graph.Whole(m), err
		}, exec.Options{}, "layer 0 act: activation: a tensor of type float64[2]: programs compute in float32"},
		{"cache that is no state", func() (*graph.Stage, error) {
			b := graph.NewBuilder(tensor.Float32)
			b.Layer("all", "all", "")
			cache := b.Input("cache", tensor.Float32, 1, 4, 1, 2)
			b.Logits(b.Apply("attn", graph.CachedAttention{}, b.Input("qkv", tensor.Float32, 1, 2, 3, 1, 2), cache, cache, b.Input(graph.InputStart, tensor.Int32, 1)))
			m, err := b.Model()
			return graph.Whole(m), err
		}, exec.Options{}, "cached_attention: operand 1 is overwritten, so it must be a state"},
		{"training on borrowed parameters", func() (*graph.Stage, error) {
			m, err := exectest.GPT(exectest.Small, true)
			return graph.Whole(m), err
		}, exec.Options{Train: true, Borrow: true}, "Train and Borrow exclude each other"},
		{"a precision that there is not", func() (*graph.Stage, error) {
			m, err := exectest.GPT(exectest.Small, true)
			return graph.Whole(m), err
		}, exec.Options{Precision: "fp8"}, `precision "fp8" is unknown: use fp32 or bf16`},
	} {
		s, err := c.stage()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if _, err := exec.Compile(s, b, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	var e *exec.CompileError
	if err := error(&exec.CompileError{Err: errors.ErrUnsupported}); !errors.As(err, &e) || !errors.Is(err, errors.ErrUnsupported) {
		t.Error("a CompileError hides its cause")
	}
}

func TestNewErrors(t *testing.T) {
	b := backend(t, 1)
	build := func(z exectest.Size, o exec.Options, sumOver ...string) *exec.Program {
		s := trainable(t, exectest.GPT, z)
		s.Params[0].SumOver = sumOver
		return compile(t, s, b, o)
	}
	z := exectest.Small
	wide := z
	wide.C *= 2
	owner := machine(t, build(z, exec.Options{Train: true}), nil)
	lender := build(wide, exec.Options{Borrow: true})
	for _, c := range []struct {
		name string
		new  func() (*exec.Machine, error)
		want string
	}{
		{"no Comm", func() (*exec.Machine, error) { return exec.New(build(z, exec.Options{Train: true}, "dp"), nil) }, "give New a Comm"},
		{"New on a borrower", func() (*exec.Machine, error) { return exec.New(lender, nil) }, "use Borrow"},
		{"Borrow on an owner", func() (*exec.Machine, error) { return exec.Borrow(owner.Program(), nil, owner) }, "use New"},
		{"other shapes", func() (*exec.Machine, error) { return exec.Borrow(lender, nil, owner) }, "cannot borrow wte: it has 408 elements here and 204 in the machine that lends"},
	} {
		if _, err := c.new(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}
