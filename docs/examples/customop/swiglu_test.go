package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/local"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

// TestKernels compares both kernels with the references under random shapes,
// and finds the same bits for one thread and for three.
func TestKernels(t *testing.T) {
	var backends []*cpu.Backend
	for _, threads := range []int{1, 3} {
		b, err := cpu.New(threads)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		backends = append(backends, b)
	}
	rapid.Check(t, func(t *rapid.T) {
		shape := tensor.Shape(rapid.SliceOfN(rapid.IntRange(1, 40), 1, 3).Draw(t, "shape"))
		typ := graph.Type{Dtype: tensor.Float32, Shape: shape}
		spec := rapid.SampledFrom([]graph.Spec{SwiGLU{}, SwiGLUGrad{}}).Draw(t, "operation")
		in := []graph.Type{typ, typ, typ}
		if spec == (SwiGLU{}) {
			in = in[:2]
		}
		want, args := operands(t, spec, in, rapid.Uint64().Draw(t, "seed"))
		if err := spec.Eval(want); err != nil {
			t.Fatal(err)
		}
		var first [][]float32
		for i, b := range backends {
			got := run(t, b, spec, in, args)
			for k, w := range append([]graph.Operand{want.Out}, want.Side...) {
				for j, x := range got[k] {
					if i > 0 && math.Float32bits(x) != math.Float32bits(first[k][j]) {
						t.Fatalf("result %d, element %d: %g on one thread, %g on more", k, j, first[k][j], x)
					}
					if math.Abs(float64(x)-w.Data[j]) > 1e-5*(1+math.Abs(w.Data[j])) {
						t.Fatalf("result %d, element %d: %g, the reference gives %g", k, j, x, w.Data[j])
					}
				}
			}
			first = got
		}
	})
}

// operands draws operands, for the reference and for a kernel.
func operands(t *rapid.T, s graph.Spec, in []graph.Type, seed uint64) (*graph.Eval, [][]float32) {
	out, side, err := s.Infer(in)
	if err != nil {
		t.Fatal(err)
	}
	e := &graph.Eval{Out: graph.Operand{Type: out, Data: make([]float64, out.Size())}}
	for _, typ := range side {
		e.Side = append(e.Side, graph.Operand{Type: typ, Data: make([]float64, typ.Size())})
	}
	r := rand.New(rand.NewPCG(seed, 1))
	var args [][]float32
	for _, typ := range in {
		x, wide := make([]float32, typ.Size()), make([]float64, typ.Size())
		for i := range x {
			x[i] = 3 * float32(r.NormFloat64())
			wide[i] = float64(x[i])
		}
		args, e.In = append(args, x), append(e.In, graph.Operand{Type: typ, Data: wide})
	}
	return e, args
}

// run runs the kernel of s.
func run(t *rapid.T, b *cpu.Backend, s graph.Spec, in []graph.Type, args [][]float32) [][]float32 {
	out, side, err := s.Infer(in)
	if err != nil {
		t.Fatal(err)
	}
	call := exec.Call{Spec: s, In: in, Out: append([]graph.Type{out}, side...)}
	k, err := b.Lower(call)
	if err != nil {
		t.Fatal(err)
	}
	a := &exec.Args{In: args, Ints: make([][]int32, len(args)), Add: make([]bool, len(call.Out))}
	for _, typ := range call.Out {
		a.Out = append(a.Out, make([]float32, typ.Size()))
	}
	if err := k.Run(a); err != nil {
		t.Fatal(err)
	}
	return a.Out
}

// TestGradient compares the gradient, as Gorgonia's TapeMachine runs it, with
// central differences.
func TestGradient(t *testing.T) {
	typ := graph.Type{Dtype: tensor.Float64, Shape: tensor.Shape{3, 5}}
	g, r := G.NewGraph(), rand.New(rand.NewPCG(1, 2))
	data := map[string][]float64{}
	leaf := func(name string) *G.Node {
		n, err := graph.NewLeaf(g, name, typ)
		if err != nil {
			t.Fatal(err)
		}
		for range typ.Size() {
			data[name] = append(data[name], r.NormFloat64())
		}
		let(t, n, data[name])
		return n
	}
	gate, up, dy := leaf("gate"), leaf("up"), leaf("dy")
	y, err := graph.Apply(SwiGLU{}, graph.Tag{Name: "y"}, gate, up)
	if err != nil {
		t.Fatal(err)
	}
	grads, err := G.Backpropagate(G.Nodes{y}, G.Nodes{dy}, G.Nodes{gate, up})
	if err != nil {
		t.Fatal(err)
	}
	values := tape(t, g, grads...)
	weighted := func() (sum float64) { // the sum of y * dy
		e := &graph.Eval{Out: graph.Operand{Type: typ, Data: make([]float64, typ.Size())}}
		for _, name := range []string{"gate", "up"} {
			e.In = append(e.In, graph.Operand{Type: typ, Data: data[name]})
		}
		if err := (SwiGLU{}).Eval(e); err != nil {
			t.Fatal(err)
		}
		for i, v := range e.Out.Data {
			sum += v * data["dy"][i]
		}
		return sum
	}
	const h = 1e-5
	for k, name := range []string{"gate", "up"} {
		for i, x := range data[name] {
			data[name][i] = x + h
			above := weighted()
			data[name][i] = x - h
			want := (above - weighted()) / (2 * h)
			data[name][i] = x
			if got := values[k].Data().([]float64)[i]; math.Abs(got-want) > 1e-6 {
				t.Errorf("gradient of %s, element %d: %g, by differences %g", name, i, got, want)
			}
		}
	}
}

// tape runs a graph on Gorgonia's TapeMachine.
func tape(t *testing.T, g *G.ExprGraph, nodes ...*G.Node) []G.Value {
	t.Helper()
	values := make([]G.Value, len(nodes))
	for i, n := range nodes {
		G.Read(n, &values[i])
	}
	vm := G.NewTapeMachine(g)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		t.Fatal(err)
	}
	return values
}

// let gives a leaf its value.
func let[T float64 | int32](t *testing.T, n *G.Node, x []T) {
	t.Helper()
	var v any = x[0]
	if len(n.Shape()) > 0 {
		v = tensor.New(tensor.WithShape(n.Shape()...), tensor.WithBacking(append([]T{}, x...)))
	}
	if err := G.Let(n, v); err != nil {
		t.Fatal(err)
	}
}

var small = Config{Vocab: 16, Seq: 8, Width: 16, Heads: 4, Inner: 12, Blocks: 2}

// rows are sequences of random tokens.
func rows(n int) local.Batch {
	r := rand.New(rand.NewPCG(3, 4))
	b := local.Batch{Ints: map[string][]int32{}}
	for _, name := range []string{graph.InputTokens, graph.InputTargets} {
		for range n * small.Seq {
			b.Ints[name] = append(b.Ints[name], int32(r.IntN(small.Vocab)))
		}
	}
	return b
}

// start compiles the small model for a plan.
func start(t *testing.T, plan string, batch int) *local.Trainer {
	t.Helper()
	p, err := parallel.Parse(plan)
	if err != nil {
		t.Fatal(err)
	}
	model, err := small.Build(tensor.Float32, batch/p.Micro)
	if err != nil {
		t.Fatal(err)
	}
	trainer, err := local.New(local.Options{Model: model, Plan: p, Seed: 7})
	if err != nil {
		t.Fatalf("%s: %v", plan, err)
	}
	t.Cleanup(func() {
		if err := trainer.Close(); err != nil {
			t.Error(err)
		}
	})
	return trainer
}

// TestTapeMachine compares the loss with that of Gorgonia's TapeMachine, in
// float64.
func TestTapeMachine(t *testing.T) {
	const n = 4
	trainer := start(t, "dp=1", n)
	got, err := trainer.Loss(t.Context(), rows(n))
	if err != nil {
		t.Fatal(err)
	}
	model, err := small.Build(tensor.Float64, n)
	if err != nil {
		t.Fatal(err)
	}
	params := trainer.Params()
	for _, p := range model.Params {
		var wide []float64
		for _, v := range params[p.Name] {
			wide = append(wide, float64(v))
		}
		let(t, p.Node, wide)
	}
	for name, ids := range rows(n).Ints {
		let(t, model.Input(name).Node, ids)
	}
	let(t, model.Input(graph.InputScale).Node, []float64{1 / float64(n*small.Seq)})
	want := tape(t, model.Graph, model.Loss)[0].Data().(float64)
	if math.Abs(got-want) > 1e-5 {
		t.Errorf("loss %g, Gorgonia's TapeMachine gives %g", got, want)
	}
}

// plans is a small space: every way to split a model among 1, 2 and 4 ranks, with
// and without ZeRO-3, checkpointing and micro-batches.
func plans() []string {
	var plans []string
	degrees := []int{1, 2, 4}
	for _, pp := range degrees[:2] {
		for _, dp := range degrees {
			for _, tp := range degrees {
				for _, sp := range degrees {
					for _, cp := range degrees {
						if pp*dp*tp*sp*cp > 4 {
							continue
						}
						split := fmt.Sprintf("pp=%d dp=%d tp=%d sp=%d cp=%d", pp, dp, tp, sp, cp)
						plans = append(plans, split, split+" micro=2 zero=3 ckpt=all sequence_parallel=on")
					}
				}
			}
		}
	}
	return append(plans, "layers=0:dp=2;1:tp=2;2:sp=2,ckpt=all;3:dp=2,zero=3", "pp=2 dp=2 micro=2 layers=0:dp=2;1:tp=2;2:cp=2;3:tp=2")
}

// TestEveryPlan trains two steps under each plan, and finds what one rank does:
// losses, norms, and the gradient of every parameter.
func TestEveryPlan(t *testing.T) {
	const batch = 8
	adamW := exec.AdamW{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Clip: 1}
	train := func(t *testing.T, plan string) (stats [2]exec.Stats, grads map[string][]float32) {
		trainer := start(t, plan, batch)
		for i := range stats {
			var err error
			if stats[i], err = trainer.Step(t.Context(), rows(batch), adamW); err != nil {
				t.Fatalf("%s: %v", plan, err)
			}
			if i == 0 {
				grads = trainer.Gradients()
			}
		}
		return stats, grads
	}
	want, wantGrads := train(t, "dp=1")
	near := func(x, y float64) bool { return math.Abs(x-y) <= 1e-4*math.Abs(y) }
	for _, plan := range plans() {
		t.Run(plan, func(t *testing.T) {
			got, grads := train(t, plan)
			for i := range want {
				if !near(got[i].Loss, want[i].Loss) || !near(got[i].GradNorm, want[i].GradNorm) {
					t.Errorf("step %d: %+v, on one rank %+v", i+1, got[i], want[i])
				}
			}
			for name, w := range wantGrads {
				for i := range w {
					if math.Abs(float64(grads[name][i]-w[i])) > 1e-5 {
						t.Errorf("gradient of %s, element %d: %g, on one rank %g", name, i, grads[name][i], w[i])
						break
					}
				}
			}
		})
	}
}

// TestLearns runs the program.
func TestLearns(t *testing.T) {
	if err := train(t.Context(), "tp=2 dp=2 micro=2", 3); err != nil {
		t.Error(err)
	}
}
