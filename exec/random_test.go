package exec_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

// alone is a group of one rank, for reference evaluations.
type alone struct{}

func (alone) Exchange(_ string, x graph.Operand) ([]graph.Operand, error) {
	return []graph.Operand{x}, nil
}

// TestInPlace runs random graphs of operations that work in place, that are no
// more than another name for a buffer, or that add to gradients, with values
// used any number of times, and compares results and gradients with the TapeMachine's.
// Half of the graphs compute some operations again for the backward pass.
func TestInPlace(t *testing.T) {
	b := backend(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		s, data, roots := randomStage(t)
		want := exectest.Reference(t, s.Graph, data, roots...)
		if rapid.Bool().Draw(t, "rematerialize") {
			if err := s.Rematerialize(atRandom(1)); err != nil {
				t.Fatal(err)
			}
		}
		p, err := exec.Compile(s, b, exec.Options{Train: true, Slots: 2})
		if err != nil {
			t.Fatal(err)
		}
		checkPlan(t, b, p)
		m, err := exec.New(p, exectest.NewRanks(1).Rank(0))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		exectest.SetParams(m, data)
		for i := range 2 {
			exectest.SetInputs(m, i, data)
			if err := m.Forward(t.Context(), exec.MicroBatch{Slot: i, Index: i}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 {
			exectest.Close(t, "result", m.Logits(i), want[0], 1e-4)
			if err := m.Backward(t.Context(), exec.MicroBatch{Slot: i, Index: i}, i == 0); err != nil {
				t.Fatal(err)
			}
		}
		for i, p := range m.Params() {
			twice := make([]float64, len(p.Grad))
			for j, v := range want[1+i] {
				twice[j] = 2 * v
			}
			exectest.Close(t, p.Shard.Param.Name, p.Grad, twice, 1e-4)
		}
	})
}

// randomStage makes a graph, its leaves' values, and its roots: the result and
// the gradients.
func randomStage(t *rapid.T) (*graph.Stage, exectest.Values, []*G.Node) {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	s, data := &graph.Stage{Graph: G.NewGraph()}, exectest.Values{}
	leaf := func(name string, dtype tensor.Dtype, shape ...int) *G.Node {
		n, err := graph.NewLeaf(s.Graph, name, graph.Type{Dtype: dtype, Shape: shape})
		if err != nil {
			t.Fatal(err)
		}
		data[n] = exectest.Normal(r, n)
		return n
	}
	input := func(n *G.Node) *G.Node {
		s.Inputs = append(s.Inputs, &graph.Input{Name: n.Name(), Node: n})
		return n
	}
	var values, wrt []*G.Node
	for i := range rapid.IntRange(1, 3).Draw(t, "params") {
		n := leaf(fmt.Sprintf("p%d", i), tensor.Float32, 3, 4)
		s.Params = append(s.Params, &graph.Shard{Node: n, Param: &graph.Param{Name: n.Name(), Node: n, Shape: n.Shape(), Stored: n.Shape()}})
		wrt, values = append(wrt, n), append(values, n)
	}
	values = append(values, input(leaf("x", tensor.Float32, 3, 4)))
	rng := input(leaf("rng", tensor.Int32, graph.RNGWords))
	for i := range data[rng] {
		data[rng][i] = float64(i)
	}

	unused := map[*G.Node]bool{}
	for _, n := range wrt {
		unused[n] = true
	}
	apply := func(spec graph.Spec, in ...*G.Node) {
		n, err := graph.Apply(spec, graph.Tag{Layer: len(values), Name: fmt.Sprint("op", len(values))}, in...)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range in {
			delete(unused, x)
		}
		unused[n] = true
		values = append(values, n)
	}
	pick := func(label string) *G.Node {
		return values[rapid.IntRange(0, len(values)-1).Draw(t, label)]
	}
	one := graph.Axis{Name: "tp", Size: 1}
	for range rapid.IntRange(1, 14).Draw(t, "ops") {
		x := pick("x")
		switch rapid.IntRange(0, 9).Draw(t, "op") {
		case 0:
			apply(graph.Activation{F: graph.SiLU}, x)
		case 1:
			apply(graph.Dropout{P: 0.3, Site: len(values)}, x, rng)
		case 2:
			apply(graph.Copy{Axis: one}, x)
		case 3:
			apply(graph.AllReduce{Axis: one}, x)
		case 4:
			apply(graph.Slice{Axis: one, Dim: 1}, x)
		case 5:
			apply(graph.LayerNorm{Eps: 1}, x, input(leaf(fmt.Sprint("gamma", len(values)), tensor.Float32, 4)), input(leaf(fmt.Sprint("beta", len(values)), tensor.Float32, 4)))
		case 6:
			apply(graph.Linear{Contract: 1}, x, input(leaf(fmt.Sprint("w", len(values)), tensor.Float32, 4, 4)))
		case 7:
			apply(graph.Rotate{Axis: one, Shift: 1}, x)
		default:
			apply(graph.Add{}, x, pick("y"))
		}
	}
	for len(unused) > 1 { // join what nothing uses yet, so that all has a gradient
		var pair []*G.Node
		for _, n := range values {
			if unused[n] {
				pair = append(pair, n)
			}
		}
		apply(graph.Add{}, pair[0], pair[1])
	}
	s.Logits = values[len(values)-1]
	if graph.IsLeaf(s.Logits) {
		apply(graph.Activation{F: graph.SiLU}, s.Logits)
		s.Logits = values[len(values)-1]
	}
	grads, err := G.Backpropagate(G.Nodes{s.Logits}, G.Nodes{input(leaf("dy", tensor.Float32, 3, 4))}, wrt)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range s.Params {
		p.Grad = grads[i]
	}
	roots := append([]*G.Node{s.Logits}, grads...)
	for _, n := range graph.Order(roots...) {
		if op := graph.OpOf(n); op != nil {
			op.BindPeers(alone{})
		}
	}
	return s, data, roots
}

// TestSharedGradient has a gradient that is a parameter's and goes on to
// another operation: it must not be summed over micro-batches on the way.
func TestSharedGradient(t *testing.T) {
	b := graph.NewBuilder(tensor.Float32)
	b.Layer("all", "all", "")
	p, q, w := b.Param("p", graph.Init{}, 3, 4), b.Param("q", graph.Init{}, 3, 4), b.Param("w", graph.Init{}, 4, 5)
	h := b.Apply("sum", graph.Add{}, p, b.Apply("act", graph.Activation{F: graph.SiLU}, q))
	y := b.Logits(b.Apply("y", graph.Linear{Contract: 1}, h, w))
	dy := b.Input("dy", tensor.Float32, 3, 5)
	model, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	s := graph.Whole(model)
	grads, err := G.Backpropagate(G.Nodes{y}, G.Nodes{dy}, G.Nodes{p, q, w})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range s.Params {
		p.Grad = grads[i]
	}
	data := exectest.Draw(rand.New(rand.NewPCG(1, 1)), s, 1)
	want := exectest.Reference(t, s.Graph, data, grads...)
	m := machine(t, compile(t, s, backend(t, 1), exec.Options{Train: true}), nil)
	exectest.SetParams(m, data)
	exectest.SetInputs(m, 0, data)
	for i := range 3 {
		pass(t, m, exec.MicroBatch{Index: i})
		for j, p := range m.Params() {
			sum := make([]float64, len(p.Grad))
			for k, v := range want[j] {
				sum[k] = float64(i+1) * v
			}
			exectest.Close(t, p.Shard.Param.Name, p.Grad, sum, 1e-5)
		}
	}
}
