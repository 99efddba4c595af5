package models_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
)

// feed gives leaves their values: []float64 or []int32.
type feed map[*G.Node]any

func (f feed) value(n *G.Node) G.Value {
	if x, ok := f[n].([]float64); ok && len(n.Shape()) == 0 {
		return G.NewF64(x[0])
	}
	return tensor.New(tensor.WithShape(n.Shape()...), tensor.WithBacking(f[n]))
}

func elements(v G.Value) []float64 {
	if x, ok := v.Data().(float64); ok {
		return []float64{x}
	}
	return append([]float64{}, v.Data().([]float64)...)
}

// tape evaluates roots on Gorgonia's TapeMachine.
func tape(t testing.TB, g *G.ExprGraph, f feed, roots ...*G.Node) [][]float64 {
	t.Helper()
	for _, n := range g.Inputs() {
		if err := G.Let(n, f.value(n)); err != nil {
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
		out[i] = elements(v)
	}
	return out
}

// plain evaluates roots by the operations' Do alone, without a machine.
func plain(t testing.TB, f feed, roots ...*G.Node) [][]float64 {
	t.Helper()
	values := map[*G.Node]G.Value{}
	for _, n := range graph.Order(roots...) {
		if graph.IsLeaf(n) {
			values[n] = f.value(n)
			continue
		}
		var in []G.Value
		for _, c := range graph.Children(n) {
			in = append(in, values[c])
		}
		v, err := n.Op().Do(in...)
		if err != nil {
			t.Fatal(err)
		}
		values[n] = v
	}
	out := make([][]float64, len(roots))
	for i, r := range roots {
		out[i] = elements(values[r])
	}
	return out
}

// drawn gives every leaf of m a value: gains of norms about 1, parameters large
// enough that each matters, tokens and targets at random, the last targets
// ignored.
func drawn(r *rand.Rand, m *graph.Model, vocab int) feed {
	f := feed{}
	for _, p := range m.Params {
		x := make([]float64, p.Size())
		for i := range x {
			x[i] = p.Init.Mean + 0.3*r.NormFloat64()
		}
		f[p.Node] = x
	}
	for _, in := range m.Inputs {
		x := make([]int32, graph.TypeOf(in.Node).Size())
		for i := range x {
			switch in.Name {
			case graph.InputTokens:
				x[i] = int32(r.IntN(vocab))
			case graph.InputTargets:
				x[i] = int32(r.IntN(vocab))
				if i > len(x)-2 {
					x[i] = graph.IgnoreIndex
				}
			case graph.InputTokenTypes:
				x[i] = int32(r.IntN(2))
			case graph.InputMask:
				x[i] = int32(min(i%5, 1))
			case graph.InputRNG:
				x[i] = int32(3 + i)
			}
		}
		f[in.Node] = x
		if in.Name == graph.InputScale {
			f[in.Node] = []float64{0.25}
		}
	}
	for _, s := range m.States {
		f[s.Node] = make([]float64, graph.TypeOf(s.Node).Size())
	}
	return f
}

// node finds an operation by name.
func node(t testing.TB, name string, roots ...*G.Node) *G.Node {
	t.Helper()
	for _, n := range graph.Order(roots...) {
		if op := graph.OpOf(n); op != nil && op.Tag.Name == name && !strings.HasPrefix(op.Spec.Kind(), "side") {
			return n
		}
	}
	t.Fatalf("no operation is named %s", name)
	return nil
}
