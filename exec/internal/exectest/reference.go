// Package exectest holds what tests of executors and back ends share: small
// models, random values, Gorgonia's TapeMachine as the reference, and ranks
// that live in one process.
package exectest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

// Values gives each leaf of a graph its data.
type Values map[*G.Node][]float64

// Reference evaluates roots on Gorgonia's TapeMachine.
func Reference(t rapid.TB, g *G.ExprGraph, data Values, roots ...*G.Node) [][]float64 {
	t.Helper()
	for n, x := range data {
		if err := G.Let(n, valueOf(graph.TypeOf(n), x)); err != nil {
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
		out[i] = floats(v)
	}
	return out
}

func valueOf(typ graph.Type, x []float64) G.Value {
	switch {
	case typ.Dtype == tensor.Int32:
		return tensor.New(tensor.WithShape(typ.Shape...), tensor.WithBacking(convert[int32](x)))
	case typ.Dims() == 0:
		return G.NewF32(float32(x[0]))
	}
	return tensor.New(tensor.WithShape(typ.Shape...), tensor.WithBacking(convert[float32](x)))
}

func floats(v G.Value) []float64 {
	switch x := v.Data().(type) {
	case float32:
		return []float64{float64(x)}
	case []float32:
		return convert[float64](x)
	}
	panic(fmt.Sprintf("a value of type %T", v.Data()))
}

func convert[T, S int32 | float32 | float64](x []S) []T {
	y := make([]T, len(x))
	for i, v := range x {
		y[i] = T(v)
	}
	return y
}

// Draw gives every parameter and input of a stage random values: ids and
// targets below vocab, a mask that hides some keys.
func Draw(r *rand.Rand, s *graph.Stage, vocab int) Values {
	data := Values{}
	for _, p := range s.Params {
		data[p.Node] = Normal(r, p.Node)
	}
	for _, in := range s.Inputs {
		x := Normal(r, in.Node)
		for i := range x {
			switch in.Name {
			case graph.InputTokens, graph.InputTargets:
				x[i] = float64(r.IntN(vocab))
			case graph.InputTokenTypes:
				x[i] = float64(r.IntN(2))
			case graph.InputMask:
				x[i] = float64(min(1, r.IntN(4)))
			case graph.InputScale:
				x[i] = 0.1
			case graph.InputRNG:
				x[i] = float64(r.IntN(100))
			}
		}
		data[in.Node] = x
	}
	for _, n := range s.Seeds {
		data[n] = []float64{1}
	}
	return data
}

// Normal draws values for a node, in float32 precision.
func Normal(r *rand.Rand, n *G.Node) []float64 {
	x := make([]float64, graph.TypeOf(n).Size())
	for i := range x {
		x[i] = float64(float32(r.NormFloat64()))
	}
	return x
}

// SetParams copies the values of a machine's parameters that data has.
func SetParams(m *exec.Machine, data Values) {
	for _, p := range m.Params() {
		copy(p.Value, convert[float32](data[p.Shard.Node]))
	}
}

// SetInputs copies the values of the inputs of a slot.
func SetInputs(m *exec.Machine, slot int, data Values) {
	for _, in := range m.Program().Stage().Inputs {
		SetInput(m, slot, in.Name, data[in.Node])
	}
}

// SetInput copies the values of one input.
func SetInput(m *exec.Machine, slot int, name string, x []float64) {
	t := m.Input(slot, name)
	copy(t.Floats, convert[float32](x))
	copy(t.Ints, convert[int32](x))
}

// Close reports elements of got that differ from want by more than tolerance
// times the largest of want, or 0.01 where all are smaller.
func Close(t rapid.TB, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	var scale float64
	for _, v := range want {
		scale = max(scale, math.Abs(v))
	}
	for i, v := range want {
		if d := math.Abs(float64(got[i]) - v); !(d <= tolerance*max(scale, 1e-2)) {
			t.Fatalf("%s: element %d is %g, want %g (largest %g)", what, i, got[i], v, scale)
		}
	}
}
