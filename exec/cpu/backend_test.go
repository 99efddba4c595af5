package cpu_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// double is an operation from outside.
type double struct{ graph.Activation }

func (double) Kind() string { return "test_double" }

func TestRegister(t *testing.T) {
	b := backend(t, 1)
	call := exec.Call{Spec: double{}, In: []graph.Type{f32(3)}, Out: []graph.Type{f32(3)}}
	var missing *cpu.KernelError
	if _, err := b.Lower(call); !errors.As(err, &missing) || missing.Kind != "test_double" || !strings.Contains(err.Error(), "let cpu_test.double implement cpu.Lowerer") {
		t.Errorf("an unknown operation gives %v", err)
	}
	b.Register("test_double", func(p *kernel.Pool, _ exec.Call) (*exec.Kernel, error) {
		return &exec.Kernel{Run: func(a *exec.Args) error {
			kernel.Scale(p, a.Out[0], a.In[0], 2)
			return nil
		}}, nil
	})
	k, err := b.Lower(call)
	if err != nil {
		t.Fatal(err)
	}
	y := make([]float32, 3)
	if err := k.Run(&exec.Args{In: [][]float32{{1, 2, 3}}, Out: [][]float32{y}}); err != nil || y[2] != 6 {
		t.Errorf("%v, error %v", y, err)
	}
	if _, err := backend(t, 1).Lower(call); err == nil {
		t.Error("another back end has the kernel, too")
	}
}

// halve is an operation from outside that brings its kernel.
type halve struct{ double }

func (halve) Kind() string { return "test_halve" }

func (halve) Lower(p *kernel.Pool, _ exec.Call) (*exec.Kernel, error) {
	return &exec.Kernel{Run: func(a *exec.Args) error {
		kernel.Scale(p, a.Out[0], a.In[0], 0.5)
		return nil
	}}, nil
}

// TestLowerer shows that an operation's own kernel is used, unless another is
// registered.
func TestLowerer(t *testing.T) {
	b := backend(t, 1)
	call := exec.Call{Spec: halve{}, In: []graph.Type{f32(3)}, Out: []graph.Type{f32(3)}}
	last := func() float32 {
		k, err := b.Lower(call)
		if err != nil {
			t.Fatal(err)
		}
		y := make([]float32, 3)
		if err := k.Run(&exec.Args{In: [][]float32{{1, 2, 3}}, Ints: [][]int32{nil}, Out: [][]float32{y}}); err != nil {
			t.Fatal(err)
		}
		return y[2]
	}
	if y := last(); y != 1.5 {
		t.Errorf("its own kernel gives %v", y)
	}
	b.Register("test_halve", func(_ *kernel.Pool, c exec.Call) (*exec.Kernel, error) {
		c.Spec = graph.Activation{F: graph.SiLU}
		return exec.Reference(c)
	})
	if y := last(); math.Abs(float64(y)-3/(1+math.Exp(-3))) > 1e-6 {
		t.Errorf("what is registered gives %v", y)
	}
}

// impostor has the kind of another operation.
type impostor struct{ double }

func (impostor) Kind() string { return "add" }

func TestLowerErrors(t *testing.T) {
	b := backend(t, 1)
	wide := f32(1, 2, 1, kernel.MaxHeadDim+1)
	packed := f32(1, 2, 3, 1, kernel.MaxHeadDim+1)
	for _, c := range []struct {
		call exec.Call
		want string
	}{
		{exec.Call{Spec: impostor{}}, "calls itself add, which is the kind of graph.Add"},
		{exec.Call{Spec: graph.Activation{F: "cube"}}, `no kernel for the function "cube"`},
		{exec.Call{Spec: graph.ActivationGrad{F: "cube"}}, `no kernel for the gradient of the function "cube"`},
		{exec.Call{Spec: graph.Attention{Packed: true}, In: []graph.Type{packed}, Out: []graph.Type{wide}}, "heads of size 257: the CPU's kernel takes up to 256"},
		{exec.Call{Spec: graph.AttentionGrad{Packed: true}, In: []graph.Type{wide, wide, wide, packed}}, "heads of size 257"},
		{exec.Call{Spec: graph.CachedAttention{}, In: []graph.Type{packed}, Out: []graph.Type{wide}}, "heads of size 257"},
	} {
		if _, err := b.Lower(c.call); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%T: error %v, want %q", c.call.Spec, err, c.want)
		}
	}
}

// TestCacheBounds shows that tokens and positions outside their tables are
// errors.
func TestCacheBounds(t *testing.T) {
	b := backend(t, 1)
	k, err := b.Lower(exec.Call{Spec: graph.AddPosition{}, In: []graph.Type{f32(1, 2, 3), f32(4, 3), i32(1)}, Out: []graph.Type{f32(1, 2, 3)}})
	if err != nil {
		t.Fatal(err)
	}
	table := []float32{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3}
	for start, ok := range map[int32]bool{-1: false, 0: true, 2: true, 3: false, math.MaxInt32: false} {
		y := make([]float32, 6)
		err := k.Run(&exec.Args{In: [][]float32{make([]float32, 6), table, nil}, Ints: [][]int32{nil, nil, {start}}, Out: [][]float32{y}})
		if (err == nil) != ok || ok && y[5] != float32(start+1) {
			t.Errorf("start %d: %v, error %v", start, y, err)
		}
	}
}

// TestPrecision shows that BF16 rounds the operands of linear layers, of their
// gradients, and of nothing else.
func TestPrecision(t *testing.T) {
	b := backend(t, 1)
	for _, c := range []struct {
		spec   graph.Spec
		in     []graph.Type
		out    graph.Type
		rounds bool
	}{
		{graph.Linear{Contract: 1}, []graph.Type{f32(5, 7), f32(7, 3)}, f32(5, 3), true},
		{graph.Linear{Contract: 1, Transposed: true}, []graph.Type{f32(5, 7), f32(3, 7)}, f32(5, 3), true},
		{graph.LinearInputGrad{Contract: 1}, []graph.Type{f32(5, 3), f32(7, 3)}, f32(5, 7), true},
		{graph.LinearWeightGrad{Contract: 1}, []graph.Type{f32(5, 7), f32(5, 3)}, f32(7, 3), true},
		{graph.MatMul{}, []graph.Type{f32(5, 7), f32(7, 3)}, f32(5, 3), false},
		{graph.Add{}, []graph.Type{f32(5, 7), f32(5, 7)}, f32(5, 7), false},
	} {
		var given, rounded [][]float32
		for i, in := range c.in {
			x := make([]float32, in.Size())
			for j := range x {
				x[j] = float32(math.Sin(float64(1 + 100*i + j)))
			}
			y := make([]float32, len(x))
			kernel.RoundBF16(y, x)
			given, rounded = append(given, x), append(rounded, y)
		}
		run := func(precision exec.Precision, in [][]float32) []float32 {
			k, err := b.Lower(exec.Call{Spec: c.spec, In: c.in, Out: []graph.Type{c.out}, Precision: precision})
			if err != nil {
				t.Fatalf("%T: %v", c.spec, err)
			}
			y := make([]float32, c.out.Size())
			if err := k.Run(&exec.Args{In: in, Out: [][]float32{y}, Add: []bool{false}}); err != nil {
				t.Fatalf("%T: %v", c.spec, err)
			}
			return y
		}
		in := given
		if c.rounds {
			in = rounded
		}
		got, want, exact := run(exec.BF16, given), run(exec.FP32, in), run(exec.FP32, given)
		var off, rounding float64
		for i := range got {
			off = max(off, math.Abs(float64(got[i]-want[i])))
			rounding = max(rounding, math.Abs(float64(got[i]-exact[i])))
		}
		if off > 1e-6 || c.rounds != (rounding > 1e-4) {
			t.Errorf("%#v: %g off in bf16, %g off what float32 gives", c.spec, off, rounding)
		}
	}
}

func TestBackend(t *testing.T) {
	b := backend(t, 2)
	if b.Threads() != 2 || b.Overhead() != 4*int64(kernel.ScratchFloats(2)) {
		t.Errorf("%d threads, overhead %d bytes", b.Threads(), b.Overhead())
	}
	x := b.Alloc(100)
	defer b.Free(x)
	x[3], x[7] = 3, 4
	if got := b.SumSquares(x); got != 25 {
		t.Errorf("sum of squares %g", got)
	}
	p := exec.Param{Value: []float32{1, 1}, Grad: []float32{4, 0}, M: make([]float32, 2), V: make([]float32, 2)}
	a := exec.AdamW{LR: 0.1, Beta1: 0.9, Beta2: 0.99, WeightDecay: 0.5, Eps: 1e-9, Step: 1}
	b.AdamW(p, a, 0.5, true) // first step: lr times the gradient's sign, and lr times decay
	if math.Abs(float64(p.Value[0])-0.85) > 1e-6 || math.Abs(float64(p.Value[1])-0.95) > 1e-6 || math.Abs(float64(p.M[0])-0.2) > 1e-6 {
		t.Errorf("%+v", p)
	}
	b.AdamW(exec.Param{Value: p.Value[1:], Grad: p.Grad[1:], M: p.M[1:], V: p.V[1:]}, a, 1, false)
	if math.Abs(float64(p.Value[1])-0.95) > 1e-6 {
		t.Errorf("a parameter that does not decay is %g", p.Value[1])
	}
}
