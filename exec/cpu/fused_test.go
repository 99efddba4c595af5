package cpu_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	"pgregory.net/rapid"
)

// TestFused compares fused products of random sizes with their own evaluation
// in float64.
func TestFused(t *testing.T) {
	b := backend(t, 2)
	rapid.Check(t, func(t *rapid.T) {
		m, n, k := rapid.IntRange(1, 40).Draw(t, "m"), rapid.IntRange(1, 70).Draw(t, "n"), rapid.IntRange(1, 50).Draw(t, "k")
		s := graph.Linear{Contract: 1, Transposed: rapid.Bool().Draw(t, "transposed")}
		weight := f32(k, n)
		if s.Transposed {
			weight = f32(n, k)
		}
		f, in, keep := exec.Fused{First: s}, []graph.Type{f32(m, k), weight}, false
		backward := rapid.Bool().Draw(t, "backward")
		if backward {
			f.First, in[0] = graph.LinearInputGrad(s), f32(m, n)
			n = k
		} else if rapid.Bool().Draw(t, "bias") {
			in = append(in, f32(n))
		}
		f.Operands = len(in)
		function := rapid.SampledFrom([]graph.Function{graph.GELUTanh, graph.GELUErf, graph.SiLU}).Draw(t, "function")
		switch add := rapid.Bool().Draw(t, "add"); {
		case add:
			f.Then, f.Operand = graph.Add{}, rapid.IntRange(0, 1).Draw(t, "operand")
			in = append(in, f32(m, n))
		case backward:
			f.Then, f.Operand = graph.ActivationGrad{F: function}, 1
			in = append(in, f32(m, n))
		default:
			f.Then, keep = graph.Activation{F: function}, rapid.Bool().Draw(t, "keep")
		}
		compareFused(t, b, f, in, keep)
	})
}

func compareFused(t *rapid.T, b *cpu.Backend, f exec.Fused, in []graph.Type, keep bool) {
	out, side, err := f.Infer(in)
	if err != nil {
		t.Fatal(err)
	}
	call := exec.Call{Spec: f, In: in, Out: []graph.Type{out}}
	args := exec.Args{Out: [][]float32{make([]float32, out.Size())}, Add: make([]bool, 2)}
	if keep {
		call.Out, args.Out = append(call.Out, side[0]), append(args.Out, make([]float32, out.Size()))
	}
	e := graph.Eval{Out: graph.Operand{Type: out, Data: make([]float64, out.Size())}}
	e.Side = []graph.Operand{{Type: side[0], Data: make([]float64, out.Size())}}
	r := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed")))
	for _, typ := range in {
		x, wide := make([]float32, typ.Size()), make([]float64, typ.Size())
		for i := range x {
			x[i] = float32(r.NormFloat64())
			wide[i] = float64(x[i])
		}
		args.In = append(args.In, x)
		e.In = append(e.In, graph.Operand{Type: typ, Data: wide})
	}
	k, err := b.Lower(call)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.Run(&args), f.Eval(&e)); err != nil {
		t.Fatal(err)
	}
	exectest.Close(t, f.Kind(), args.Out[0], e.Out.Data, 1e-5)
	if keep {
		exectest.Close(t, "the kept result", args.Out[1], e.Side[0].Data, 1e-5)
	}
}

// single is an operation that is not the second of any pair.
type single struct{ graph.Add }

func (single) Kind() string { return "test_single" }

func TestNotFused(t *testing.T) {
	b := backend(t, 1)
	x, linear := f32(3, 3), graph.Linear{Contract: 1}
	for _, c := range []struct {
		spec exec.Fused
		out  int
	}{
		{exec.Fused{First: linear, Then: single{}, Operands: 2}, 1},
		{exec.Fused{First: graph.Add{}, Then: graph.Add{}, Operands: 2}, 1},
		{exec.Fused{First: linear, Then: graph.Add{}, Operands: 2}, 2}, // the product is needed, too
		{exec.Fused{First: linear, Then: graph.Activation{F: "cube"}, Operands: 2}, 1},
		{exec.Fused{First: graph.LinearInputGrad(linear), Then: graph.ActivationGrad{F: graph.SiLU}, Operands: 2}, 1}, // the slope at the product
	} {
		call := exec.Call{Spec: c.spec, In: []graph.Type{x, x, x}, Out: []graph.Type{x, x}[:c.out]}
		if _, err := b.Lower(call); !errors.Is(err, exec.ErrNotFused) {
			t.Errorf("%s: error %v", c.spec.Kind(), err)
		}
	}
}

// TestRegisterPart shows that a kernel from outside is not passed over by one
// of a pair.
func TestRegisterPart(t *testing.T) {
	b := backend(t, 1)
	lower := func(*kernel.Pool, exec.Call) (*exec.Kernel, error) { return &exec.Kernel{FLOPs: 7}, nil }
	cpu.Register("test_single+test_double", lower)
	call := exec.Call{Spec: exec.Fused{First: single{}, Then: double{}}}
	if k, err := b.Lower(call); err != nil || k.FLOPs != 7 {
		t.Errorf("%v, error %v", k, err)
	}
	cpu.Register("test_single", lower)
	if _, err := b.Lower(call); !errors.Is(err, exec.ErrNotFused) {
		t.Errorf("error %v", err)
	}
}
