package cpu_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	"gorgonia.org/tensor"
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
		if typ.Dtype == tensor.Int32 {
			args.In, args.Ints = append(args.In, nil), append(args.Ints, []int32{1, 2, 3, 4, 1})
			e.In = append(e.In, graph.Operand{Type: typ, Data: []float64{1, 2, 3, 4, 1}})
			continue
		}
		args.Ints = append(args.Ints, nil)
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

// TestChain compares random chains of elementwise operations with their own
// evaluation in float64.
func TestChain(t *testing.T) {
	b := backend(t, 2)
	rapid.Check(t, func(t *rapid.T) {
		x, state := f32(rapid.IntRange(1, 3).Draw(t, "rows"), rapid.IntRange(1, 3000).Draw(t, "cols")), i32(graph.RNGWords)
		// through is the operand that the chain goes through, of all that there are.
		next := func() (spec graph.Spec, through int, operands []graph.Type) {
			function := rapid.SampledFrom([]graph.Function{graph.GELUTanh, graph.GELUErf, graph.SiLU}).Draw(t, "function")
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				return graph.Add{}, rapid.IntRange(0, 1).Draw(t, "operand"), []graph.Type{x, x}
			case 1:
				return graph.Activation{F: function}, 0, []graph.Type{x}
			case 2:
				return graph.ActivationGrad{F: function}, 1, []graph.Type{x, x}
			}
			return graph.Dropout{P: 0.25, Site: rapid.IntRange(0, 5).Draw(t, "site")}, 0, []graph.Type{x, state}
		}
		spec, _, in := next()
		for range rapid.IntRange(1, 3).Draw(t, "more") {
			then, through, operands := next()
			spec = exec.Fused{First: spec, Then: then, Operands: len(in), Operand: through}
			in = append(slices.Clone(in), slices.Delete(operands, through, through+1)...)
		}
		compareFused(t, b, spec.(exec.Fused), in, rapid.Bool().Draw(t, "keep"))
	})
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
		{exec.Fused{First: graph.Add{}, Then: single{}, Operands: 2}, 1},
		{exec.Fused{First: single{}, Then: graph.Add{}, Operands: 2}, 1},
		{exec.Fused{First: graph.Add{}, Then: graph.Activation{F: "cube"}, Operands: 2}, 1},
		{exec.Fused{First: graph.Add{}, Then: graph.ActivationGrad{F: graph.SiLU}, Operands: 2}, 1}, // the slope at the sum
		{exec.Fused{First: linear, Then: graph.Add{}, Operands: 2}, 2},                              // the product is needed, too
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
	b.Register("test_single+test_double", lower)
	call := exec.Call{Spec: exec.Fused{First: single{}, Then: double{}}}
	if k, err := b.Lower(call); err != nil || k.FLOPs != 7 {
		t.Errorf("%v, error %v", k, err)
	}
	b.Register("test_single", lower)
	if _, err := b.Lower(call); !errors.Is(err, exec.ErrNotFused) {
		t.Errorf("error %v", err)
	}
}
