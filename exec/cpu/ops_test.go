package cpu_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	"go.uber.org/goleak"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// opCase is one operation on operands of given types.
type opCase struct {
	name string
	spec graph.Spec
	in   []graph.Type
	draw map[int]func(r *rand.Rand) float64 // how to draw an operand; normal without
}

func f32(shape ...int) graph.Type { return graph.Type{Dtype: tensor.Float32, Shape: shape} }
func i32(shape ...int) graph.Type { return graph.Type{Dtype: tensor.Int32, Shape: shape} }

type draws = map[int]func(*rand.Rand) float64

func below(n int) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return float64(r.IntN(n)) }
}

func constant(v float64) func(*rand.Rand) float64 {
	return func(*rand.Rand) float64 { return v }
}

func target(n int) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 {
		if r.IntN(4) == 0 {
			return graph.IgnoreIndex
		}
		return float64(r.IntN(n))
	}
}

var opCases = []opCase{
	{"embedding", graph.Embedding{}, []graph.Type{i32(2, 3), f32(5, 4)}, draws{0: below(5)}},
	{"embedding, wide", graph.Embedding{}, []graph.Type{i32(3, 17), f32(31, 100)}, draws{0: below(31)}},
	{"add_bias", graph.AddBias{}, []graph.Type{f32(2, 3, 4), f32(4)}, nil},
	{"add_bias of heads", graph.AddBias{}, []graph.Type{f32(2, 3, 4, 5), f32(4, 5)}, nil},
	{"embedding, part of the vocabulary", graph.Embedding{Vocab: graph.Part{Index: 1, Count: 3}}, []graph.Type{i32(3, 17), f32(11, 20)}, draws{0: below(33)}},
	{"add_position", graph.AddPosition{}, []graph.Type{f32(2, 3, 4), f32(5, 4)}, nil},
	{"add_position, as long as the table", graph.AddPosition{}, []graph.Type{f32(2, 3, 4), f32(3, 4)}, nil},
	{"add_position, part of the sequence", graph.AddPosition{Seq: graph.Part{Index: 1, Count: 3}}, []graph.Type{f32(2, 3, 4), f32(10, 4)}, nil},
	{"add_position, part of the sequence from a start", graph.AddPosition{Seq: graph.Part{Index: 2, Count: 3}}, []graph.Type{f32(2, 3, 4), f32(12, 4), i32(1)}, draws{2: below(3)}},
	{"linear", graph.Linear{Contract: 1}, []graph.Type{f32(2, 3, 4), f32(4, 5), f32(5)}, nil},
	{"linear, larger", graph.Linear{Contract: 1}, []graph.Type{f32(3, 11, 37), f32(37, 53), f32(53)}, nil},
	{"linear transposed", graph.Linear{Contract: 1, Transposed: true}, []graph.Type{f32(2, 3, 4), f32(5, 4), f32(5)}, nil},
	{"linear transposed, larger", graph.Linear{Contract: 1, Transposed: true}, []graph.Type{f32(3, 11, 37), f32(53, 37), f32(53)}, nil},
	{"linear to heads", graph.Linear{Contract: 1}, []graph.Type{f32(2, 3, 4), f32(4, 3, 2, 2), f32(3, 2, 2)}, nil},
	{"linear from heads", graph.Linear{Contract: 2}, []graph.Type{f32(2, 3, 2, 2), f32(2, 2, 5), f32(5)}, nil},
	{"linear from heads transposed, no bias", graph.Linear{Contract: 2, Transposed: true}, []graph.Type{f32(2, 3, 2, 2), f32(5, 2, 2)}, nil},
	{"matmul NN", graph.MatMul{}, []graph.Type{f32(2, 3, 4), f32(2, 4, 5)}, nil},
	{"matmul TN", graph.MatMul{TransA: true}, []graph.Type{f32(2, 4, 3), f32(2, 4, 5)}, nil},
	{"matmul NT", graph.MatMul{TransB: true}, []graph.Type{f32(2, 3, 4), f32(2, 5, 4)}, nil},
	{"matmul TT", graph.MatMul{TransA: true, TransB: true}, []graph.Type{f32(2, 4, 3), f32(2, 5, 4)}, nil},
	{"matmul, large", graph.MatMul{TransB: true}, []graph.Type{f32(2, 160, 170), f32(2, 160, 170)}, nil},
	{"matmul of one", graph.MatMul{TransB: true}, []graph.Type{f32(12, 40), f32(30, 40)}, nil},
	{"layer_norm", graph.LayerNorm{Eps: 1e-5}, []graph.Type{f32(2, 3, 6), f32(6), f32(6)}, nil},
	{"layer_norm, larger", graph.LayerNorm{Eps: 1e-12}, []graph.Type{f32(9, 11, 100), f32(100), f32(100)}, nil},
	{"rms_norm", graph.RMSNorm{Eps: 1e-5}, []graph.Type{f32(2, 3, 6), f32(6)}, nil},
	{"gelu_tanh", graph.Activation{F: graph.GELUTanh}, []graph.Type{f32(3, 41)}, nil},
	{"gelu_erf", graph.Activation{F: graph.GELUErf}, []graph.Type{f32(3, 41)}, nil},
	{"silu", graph.Activation{F: graph.SiLU}, []graph.Type{f32(3, 41)}, nil},
	{"add", graph.Add{}, []graph.Type{f32(3, 4), f32(3, 4)}, nil},
	{"causal attention", graph.Attention{Causal: true, Packed: true}, []graph.Type{f32(2, 4, 3, 2, 3)}, nil},
	{"causal attention, longer", graph.Attention{Causal: true, Packed: true}, []graph.Type{f32(2, 67, 3, 3, 16)}, nil},
	{"bidirectional attention", graph.Attention{}, []graph.Type{f32(2, 7, 2, 3), f32(2, 7, 2, 3), f32(2, 7, 2, 3)}, nil},
	{"grouped-query attention", graph.Attention{Causal: true}, []graph.Type{f32(2, 6, 4, 3), f32(2, 6, 2, 3), f32(2, 6, 2, 3)}, nil},
	{"padded attention", graph.Attention{Packed: true, Masked: true}, []graph.Type{f32(3, 6, 3, 2, 3), i32(3, 6)}, draws{1: below(2)}},
	{"attention to nothing", graph.Attention{Packed: true, Masked: true}, []graph.Type{f32(1, 2, 3, 2, 3), i32(1, 2)}, draws{1: constant(0)}},
	{"dropout", graph.Dropout{P: 0.4, Site: 3}, []graph.Type{f32(3, 43), i32(graph.RNGWords)}, draws{1: below(100)}},
	{"dropout off", graph.Dropout{P: 0.4, Site: 3}, []graph.Type{f32(3, 43), i32(graph.RNGWords)}, draws{1: constant(0)}},
	{"dropout of a part of the batch", graph.Dropout{P: 0.4, Parts: []graph.Part{{Index: 1, Count: 2}, {}}}, []graph.Type{f32(3, 43), i32(graph.RNGWords)}, draws{1: below(100)}},
	{"dropout of a part of the sequence", graph.Dropout{P: 0.4, Parts: []graph.Part{{Index: 1, Count: 2}, {Index: 2, Count: 3}, {}}}, []graph.Type{f32(3, 5, 43), i32(graph.RNGWords)}, draws{1: below(100)}},
	{"dropout of a part of the heads", graph.Dropout{P: 0.4, Parts: []graph.Part{{}, {Count: 1}, {Index: 1, Count: 2}, {}}}, []graph.Type{f32(3, 5, 2, 43), i32(graph.RNGWords)}, draws{1: below(100)}},
	{"dropout of a part of everything", graph.Dropout{P: 0.4, Parts: []graph.Part{{Index: 1, Count: 2}, {Index: 2, Count: 3}, {Index: 1, Count: 2}, {Index: 0, Count: 2}}}, []graph.Type{f32(3, 5, 2, 43), i32(graph.RNGWords)}, draws{1: below(100)}},
	{"cross_entropy", graph.CrossEntropy{}, []graph.Type{f32(2, 3, 5), i32(2, 3), f32()}, draws{1: target(5)}},
	{"cross_entropy, wide", graph.CrossEntropy{}, []graph.Type{f32(2, 9, 301), i32(2, 9), f32()}, draws{1: target(301)}},
	{"cross_entropy all ignored", graph.CrossEntropy{}, []graph.Type{f32(2, 3, 5), i32(2, 3), f32()}, draws{1: constant(graph.IgnoreIndex)}},
	{"cross_entropy, part of the vocabulary", graph.CrossEntropy{Vocab: graph.Part{Index: 1, Count: 3}}, []graph.Type{f32(2, 3, 5), i32(2, 3), f32(), f32(3, 2, 3)}, draws{1: target(15)}},
	{"slice", graph.Slice{Axis: graph.Axis{Name: "tp", Size: 1}, Dim: 1}, []graph.Type{f32(2, 6, 3)}, nil},
}

// TestOperations compares results and gradients with the TapeMachine's. The
// gradient that comes in is an input; operands with gradients are parameters.
// Every case runs twice more as further micro-batches: once in each of two
// slots.
func TestOperations(t *testing.T) {
	b := backend(t, 1)
	for _, c := range opCases {
		t.Run(c.name, func(t *testing.T) {
			stage, data, roots := c.stage(t)
			want := exectest.Reference(t, stage.Graph, data, roots...)
			p, err := exec.Compile(stage, b, exec.Options{Train: true, Slots: 2})
			if err != nil {
				t.Fatal(err)
			}
			m, err := exec.New(p, collectives{})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			exectest.SetParams(m, data)
			for i := range 3 {
				mb := exec.MicroBatch{Slot: i % 2, Index: i}
				exectest.SetInputs(m, mb.Slot, data)
				if err := m.Forward(t.Context(), mb); err != nil {
					t.Fatal(err)
				}
				exectest.Close(t, "result", m.Logits(mb.Slot), want[0], 1e-5)
				if err := m.Backward(t.Context(), mb, i == 0); err != nil {
					t.Fatal(err)
				}
				for j, p := range m.Params() {
					exectest.Close(t, "gradient of "+p.Shard.Param.Name, p.Grad, times(want[1+j], i+1), 1e-5)
				}
			}
		})
	}
}

func times(x []float64, n int) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v * float64(n)
	}
	return y
}

// stage makes a stage of the one operation. roots are its result and the
// parameters' gradients.
func (c *opCase) stage(t *testing.T) (*graph.Stage, exectest.Values, []*G.Node) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	s, data := &graph.Stage{Graph: G.NewGraph()}, exectest.Values{}
	leaf := func(name string, typ graph.Type, draw func(*rand.Rand) float64) *G.Node {
		n, err := graph.NewLeaf(s.Graph, name, typ)
		if err != nil {
			t.Fatal(err)
		}
		data[n] = exectest.Normal(r, n)
		if draw != nil {
			for i := range data[n] {
				data[n][i] = draw(r)
			}
		}
		return n
	}
	input := func(n *G.Node) { s.Inputs = append(s.Inputs, &graph.Input{Name: n.Name(), Node: n}) }
	var in, wrt []*G.Node
	has := c.spec.(graph.Differentiable).Wrt(len(c.in))
	for i, typ := range c.in {
		n := leaf(fmt.Sprintf("operand %d", i), typ, c.draw[i])
		in = append(in, n)
		if !has[i] {
			input(n)
			continue
		}
		s.Params = append(s.Params, &graph.Shard{Node: n, Param: &graph.Param{Name: n.Name(), Node: n, Shape: typ.Shape, Stored: typ.Shape}})
		wrt = append(wrt, n)
	}
	out, err := graph.Apply(c.spec, graph.Tag{Name: c.name}, in...)
	if err != nil {
		t.Fatal(err)
	}
	if op := graph.OpOf(out); op != nil {
		op.BindPeers(alone{})
	}
	s.Logits = out
	dy := leaf("dy", graph.TypeOf(out), nil)
	input(dy)
	grads, err := G.Backpropagate(G.Nodes{out}, G.Nodes{dy}, wrt)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range s.Params {
		p.Grad = grads[i]
		if op := graph.OpOf(grads[i]); op != nil {
			op.BindPeers(alone{})
		}
	}
	return s, data, append([]*G.Node{out}, grads...)
}

// alone is a group of one rank.
type alone struct{}

func (alone) Exchange(_ string, x graph.Operand) ([]graph.Operand, error) {
	return []graph.Operand{x}, nil
}

// collectives are those of a group of one rank.
type collectives struct{ exec.Comm }

func (collectives) AllGather(_ context.Context, _, _ string, dst, src []float32) error {
	copy(dst, src)
	return nil
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

// TestLogSumExp compares with the operation's own evaluation.
func TestLogSumExp(t *testing.T) {
	s := graph.LogSumExp{}
	x := graph.Operand{Type: f32(2, 9, 301), Data: make([]float64, 2*9*301)}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range x.Data {
		x.Data[i] = float64(float32(5 * r.NormFloat64()))
	}
	want := graph.Operand{Type: f32(1, 2, 9), Data: make([]float64, 2*9)}
	if err := s.Eval(&graph.Eval{In: []graph.Operand{x}, Out: want}); err != nil {
		t.Fatal(err)
	}
	exectest.Close(t, "result", forward(t, s, x, nil), want.Data, 1e-6)
}

// TestIntegersMove slices ids, gathers them, and looks them up.
func TestIntegersMove(t *testing.T) {
	b := graph.NewBuilder(tensor.Float32)
	b.Layer("all", "all", "")
	ids := b.Input(graph.InputTokens, tensor.Int32, 3, 4)
	axis := graph.Axis{Name: "tp", Size: 2, Rank: 1}
	half := b.Apply("half", graph.Slice{Axis: axis, Dim: 1}, ids)
	again := b.Apply("again", graph.AllGather{Axis: graph.Axis{Name: "tp", Size: 1}, Dim: 1}, half)
	table := b.Param("table", graph.Init{}, 1<<20, 1) // ids as large as this are no small floats
	b.Logits(b.Apply("rows", graph.Embedding{}, again, table))
	model, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	p, err := exec.Compile(graph.Whole(model), backend(t, 1), exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := exec.New(p, collectives{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for i := range m.Params()[0].Value {
		m.Params()[0].Value[i] = float32(i)
	}
	for i := range 12 {
		m.Input(0, graph.InputTokens).Ints[i] = int32(1<<20 - 1 - i)
	}
	if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil {
		t.Fatal(err)
	}
	var want []float64
	for _, i := range []int{2, 3, 6, 7, 10, 11} {
		want = append(want, float64(1<<20-1-i))
	}
	exectest.Close(t, "rows", m.Logits(0), want, 0)
}

// TestDropoutIsPartitionInvariant cuts a tensor of up to four dimensions along
// any of them and finds, bit for bit, what dropout of the whole leaves there.
func TestDropoutIsPartitionInvariant(t *testing.T) {
	back := backend(t, 2)
	rapid.Check(t, func(t *rapid.T) {
		shape := rapid.SliceOfN(rapid.IntRange(1, 9), 1, 4).Draw(t, "shape")
		whole, parts := slices.Clone(shape), make([]graph.Part, len(shape))
		for d := range shape {
			parts[d].Count = rapid.IntRange(1, 3).Draw(t, "parts")
			parts[d].Index = rapid.IntRange(0, parts[d].Count-1).Draw(t, "part")
			whole[d] *= parts[d].Count
		}
		state := []int32{7, 8, 9, int32(rapid.IntRange(0, 1000).Draw(t, "first row")), 1}
		run := func(s graph.Spec, shape []int) []float32 {
			x := graph.Operand{Type: f32(shape...)}
			x.Data = slices.Repeat([]float64{1}, x.Size())
			return forwardOn(t, back, s, x, state)
		}
		s := graph.Dropout{P: 0.4, Site: 3}
		all, got := run(s, whole), run(s.Place(parts, nil), shape)
		for i, v := range got {
			index, rest, stride := 0, i, 1
			for d, size := range slices.Backward(shape) {
				index += (parts[d].Index*size + rest%size) * stride
				rest /= size
				stride *= whole[d]
			}
			if v != all[index] {
				t.Fatalf("%v of %v, parts %v: element %d is %g, in the whole %g", shape, whole, parts, i, v, all[index])
			}
		}
	})
}

// forward runs an operation on one input, and on a random state if that is not
// nil.
func forward(t *testing.T, s graph.Spec, x graph.Operand, state []int32) []float32 {
	t.Helper()
	return forwardOn(t, backend(t, 1), s, x, state)
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Context() context.Context
}

func forwardOn(t fataler, back *cpu.Backend, s graph.Spec, x graph.Operand, state []int32) []float32 {
	t.Helper()
	b := graph.NewBuilder(tensor.Float32)
	b.Layer("all", "all", "")
	in := []*G.Node{b.Input("x", tensor.Float32, x.Shape...)}
	if state != nil {
		in = append(in, b.Input(graph.InputRNG, tensor.Int32, len(state)))
	}
	b.Logits(b.Apply("op", s, in...))
	model, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	p, err := exec.Compile(graph.Whole(model), back, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := exec.New(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	exectest.SetInput(m, 0, "x", x.Data)
	copy(m.Input(0, graph.InputRNG).Ints, state)
	if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(m.Logits(0))
}
