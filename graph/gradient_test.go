package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// values gives each leaf of a test graph its data.
type values map[*G.Node][]float64

// run evaluates roots on Gorgonia's TapeMachine and returns their values.
func run(t testing.TB, g *G.ExprGraph, data values, roots ...*G.Node) [][]float64 {
	t.Helper()
	for n, v := range data {
		if err := G.Let(n, value(TypeOf(n), v)); err != nil {
			t.Fatalf("%s: %v", n.Name(), err)
		}
	}
	reads := make([]G.Value, len(roots))
	for i, r := range roots {
		G.Read(r, &reads[i])
	}
	vm := G.NewTapeMachine(g)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		t.Fatal(err)
	}
	out := make([][]float64, len(roots))
	for i, v := range reads {
		x, err := toFloat64(v)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = append([]float64{}, x...)
	}
	return out
}

func value(typ Type, data []float64) G.Value {
	if typ.Dtype == tensor.Int32 {
		ints := make([]int32, len(data))
		for i, v := range data {
			ints[i] = int32(v)
		}
		return tensor.New(tensor.WithShape(typ.Shape...), tensor.WithBacking(ints))
	}
	v, err := fromFloat64(Operand{typ, data})
	if err != nil {
		panic(err)
	}
	return v
}

// opCase is one operation on operands of given types.
type opCase struct {
	name string
	spec Differentiable
	in   []Type
	draw map[int]func(r *rand.Rand) float64 // how to draw an operand; normal without
}

func f64(shape ...int) Type { return Type{tensor.Float64, shape} }
func i32(shape ...int) Type { return Type{tensor.Int32, shape} }

func below(n int) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return float64(r.IntN(n)) }
}

func constant(v float64) func(*rand.Rand) float64 {
	return func(*rand.Rand) float64 { return v }
}

var opCases = []opCase{
	{name: "embedding", spec: Embedding{}, in: []Type{i32(2, 3), f64(5, 4)}, draw: map[int]func(*rand.Rand) float64{0: below(5)}},
	{name: "embedding, part of the vocabulary", spec: Embedding{Vocab: Part{1, 3}}, in: []Type{i32(2, 3), f64(5, 4)}, draw: map[int]func(*rand.Rand) float64{0: below(15)}},
	{name: "add_position", spec: AddPosition{}, in: []Type{f64(2, 3, 4), f64(5, 4)}},
	{name: "add_position from 2", spec: AddPosition{}, in: []Type{f64(2, 3, 4), f64(5, 4), i32(1)}, draw: map[int]func(*rand.Rand) float64{2: constant(2)}},
	{name: "add_position, part of the sequence", spec: AddPosition{Seq: Part{1, 2}}, in: []Type{f64(2, 3, 4), f64(8, 4), i32(1)}, draw: map[int]func(*rand.Rand) float64{2: constant(1)}},
	{name: "linear", spec: Linear{Contract: 1}, in: []Type{f64(2, 3, 4), f64(4, 5), f64(5)}},
	{name: "linear transposed", spec: Linear{Contract: 1, Transposed: true}, in: []Type{f64(2, 3, 4), f64(5, 4), f64(5)}},
	{name: "linear to heads", spec: Linear{Contract: 1}, in: []Type{f64(2, 3, 4), f64(4, 3, 2, 2), f64(3, 2, 2)}},
	{name: "linear from heads", spec: Linear{Contract: 2}, in: []Type{f64(2, 3, 2, 2), f64(2, 2, 5), f64(5)}},
	{name: "linear from heads transposed, no bias", spec: Linear{Contract: 2, Transposed: true}, in: []Type{f64(2, 3, 2, 2), f64(5, 2, 2)}},
	{name: "matmul NN", spec: MatMul{}, in: []Type{f64(2, 3, 4), f64(2, 4, 5)}},
	{name: "matmul TN", spec: MatMul{TransA: true}, in: []Type{f64(2, 4, 3), f64(2, 4, 5)}},
	{name: "matmul NT", spec: MatMul{TransB: true}, in: []Type{f64(2, 3, 4), f64(2, 5, 4)}},
	{name: "matmul TT", spec: MatMul{TransA: true, TransB: true}, in: []Type{f64(2, 4, 3), f64(2, 5, 4)}},
	{name: "layer_norm", spec: LayerNorm{Eps: 1e-5}, in: []Type{f64(2, 3, 6), f64(6), f64(6)}},
	{name: "rms_norm", spec: RMSNorm{Eps: 1e-5}, in: []Type{f64(2, 3, 6), f64(6)}},
	{name: "gelu_tanh", spec: Activation{GELUTanh}, in: []Type{f64(3, 4)}},
	{name: "gelu_erf", spec: Activation{GELUErf}, in: []Type{f64(3, 4)}},
	{name: "silu", spec: Activation{SiLU}, in: []Type{f64(3, 4)}},
	{name: "add", spec: Add{}, in: []Type{f64(3, 4), f64(3, 4)}},
	{name: "causal attention", spec: Attention{Causal: true, Packed: true}, in: []Type{f64(2, 4, 3, 2, 3)}},
	{name: "bidirectional attention", spec: Attention{}, in: []Type{f64(2, 4, 2, 3), f64(2, 4, 2, 3), f64(2, 4, 2, 3)}},
	{name: "grouped-query attention", spec: Attention{Causal: true}, in: []Type{f64(2, 4, 4, 3), f64(2, 4, 2, 3), f64(2, 4, 2, 3)}},
	{name: "padded attention", spec: Attention{Packed: true, Masked: true}, in: []Type{f64(3, 4, 3, 2, 3), i32(3, 4)}, draw: map[int]func(*rand.Rand) float64{1: below(2)}},
	{name: "attention to nothing", spec: Attention{Packed: true, Masked: true}, in: []Type{f64(1, 2, 3, 2, 3), i32(1, 2)}, draw: map[int]func(*rand.Rand) float64{1: constant(0)}},
	{name: "dropout", spec: Dropout{P: 0.4, Site: 3}, in: []Type{f64(3, 4), i32(RNGWords)}, draw: map[int]func(*rand.Rand) float64{1: constant(1)}},
	{name: "dropout of a part", spec: Dropout{P: 0.4, Parts: []Part{{}, {1, 2}, {2, 3}}}, in: []Type{f64(3, 4, 2), i32(RNGWords)}, draw: map[int]func(*rand.Rand) float64{1: constant(1)}},
	{name: "dropout off", spec: Dropout{P: 0.4, Site: 3}, in: []Type{f64(3, 4), i32(RNGWords)}, draw: map[int]func(*rand.Rand) float64{1: constant(0)}},
	{name: "cross_entropy", spec: CrossEntropy{}, in: []Type{f64(2, 3, 5), i32(2, 3), f64()}, draw: map[int]func(*rand.Rand) float64{1: below(5)}},
	{name: "cross_entropy all ignored", spec: CrossEntropy{}, in: []Type{f64(2, 3, 5), i32(2, 3), f64()}, draw: map[int]func(*rand.Rand) float64{1: constant(IgnoreIndex)}},
}

// TestGradients compares every operation's gradient, run by the TapeMachine,
// with central differences of its own evaluation: the result is weighted by a
// random tensor, which is then the gradient dy.
func TestGradients(t *testing.T) {
	for _, c := range opCases {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			g := G.NewGraph()
			data := values{}
			var in []*G.Node
			for i, typ := range c.in {
				n := leaf(g, fmt.Sprintf("in%d", i), typ)
				in = append(in, n)
				data[n] = drawn(r, typ, c.draw[i])
			}
			out, err := Apply(c.spec, Tag{Name: c.name}, in...)
			if err != nil {
				t.Fatal(err)
			}
			dy := leaf(g, "dy", TypeOf(out))
			data[dy] = drawn(r, TypeOf(out), nil)
			checkGradients(t, g, data, out, dy, differentiable(c.spec, in))
		})
	}
}

func drawn(r *rand.Rand, typ Type, draw func(*rand.Rand) float64) []float64 {
	if draw == nil {
		draw = (*rand.Rand).NormFloat64
	}
	x := make([]float64, typ.Size())
	for i := range x {
		x[i] = draw(r)
	}
	return x
}

func differentiable(s Differentiable, in []*G.Node) []*G.Node {
	var wrt []*G.Node
	for i, ok := range s.Wrt(len(in)) {
		if ok {
			wrt = append(wrt, in[i])
		}
	}
	return wrt
}

// checkGradients differentiates out, seeded with dy, and compares each
// gradient element by element with central differences.
func checkGradients(t *testing.T, g *G.ExprGraph, data values, out, dy *G.Node, wrt []*G.Node) {
	t.Helper()
	grads, err := G.Backpropagate(G.Nodes{out}, G.Nodes{dy}, wrt)
	if err != nil {
		t.Fatal(err)
	}
	got := run(t, g, data, grads...)
	weighted := func() float64 { return dot(evaluate(t, data, out), data[dy]) }
	const h = 1e-5
	for i, n := range wrt {
		x := data[n]
		for j := range x {
			kept := x[j]
			x[j] = kept + h
			up := weighted()
			x[j] = kept - h
			down := weighted()
			x[j] = kept
			want := (up - down) / (2 * h)
			if math.Abs(got[i][j]-want) > 1e-6*(1+math.Abs(want)) {
				t.Fatalf("gradient of %s, element %d: %.9g, by differences %.9g", n.Name(), j, got[i][j], want)
			}
		}
	}
}

// evaluate computes root by its operations' Do alone, without a machine.
func evaluate(t *testing.T, data values, root *G.Node) []float64 {
	t.Helper()
	vals := map[*G.Node]G.Value{}
	for _, n := range Order(root) {
		if IsLeaf(n) {
			vals[n] = value(TypeOf(n), data[n])
			continue
		}
		var in []G.Value
		for _, c := range Children(n) {
			in = append(in, vals[c])
		}
		v, err := n.Op().Do(in...)
		if err != nil {
			t.Fatal(err)
		}
		vals[n] = v
	}
	x, err := toFloat64(vals[root])
	if err != nil {
		t.Fatal(err)
	}
	return x
}
