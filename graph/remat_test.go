package graph

import (
	"slices"
	"strings"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// chain is a stage of three layers, x -> silu -> product -> silu, whose input
// comes from another stage and whose loss weighs the result.
func chain(t *testing.T) (*Stage, values) {
	t.Helper()
	s := &Stage{Graph: G.NewGraph()}
	must := func(n *G.Node, err error) *G.Node {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	apply := func(layer int, name string, spec Spec, in ...*G.Node) *G.Node {
		return must(Apply(spec, Tag{Layer: layer, Name: name}, in...))
	}
	token := must(NewLeaf(s.Graph, "token", f64()))
	s.Tokens = []*G.Node{token}
	data := values{token: {1}}
	param := func(name string, shape ...int) *G.Node {
		n := must(NewLeaf(s.Graph, name, f64(shape...)))
		s.Params = append(s.Params, &Shard{Param: &Param{Name: name, Node: n}, Node: n})
		for i := range TypeOf(n).Size() {
			data[n] = append(data[n], float64(i+1)/8)
		}
		return n
	}
	x := apply(0, "receive", Recv{Shape: []int{1, 2, 3}}, token)
	x = apply(0, "norm", LayerNorm{Eps: 1e-3}, x, param("gamma", 3), param("beta", 3))
	x = apply(0, "act_0", Activation{SiLU}, x)
	axis := Axis{Name: "dp", Size: 1}
	w := apply(1, "gather", AllGather{Axis: axis, PartialGrad: true}, param("w", 3, 4))
	x = apply(1, "product", Linear{Contract: 1}, x, w)
	x = apply(1, "act_1", Activation{SiLU}, x)
	x = apply(1, "act_2", Activation{SiLU}, x)
	x = apply(2, "act_3", Activation{SiLU}, x)
	x = apply(2, "act_4", Activation{SiLU}, x)
	s.Sends = []*G.Node{apply(2, "send", Send{}, x)}
	if err := s.Differentiate(); err != nil {
		t.Fatal(err)
	}
	data[s.Seeds[0]] = []float64{1}
	return s, data
}

// between is the group of a pipeline test: what is received is given, what is
// sent is taken.
type between struct{ received Operand }

func (b between) Exchange(_ string, x Operand) ([]Operand, error) {
	if x.Dims() == 0 {
		return []Operand{x, b.received}, nil
	}
	return []Operand{x}, nil
}

// gradients evaluates the gradients of s.
func gradients(t *testing.T, s *Stage, data values) [][]float64 {
	t.Helper()
	forward, backward := s.Roots()
	for _, n := range Order(slices.Concat(forward, backward)...) {
		if op := OpOf(n); op != nil {
			if r, ok := op.Spec.(Recv); ok {
				x := Operand{f64(r.Shape...), make([]float64, f64(r.Shape...).Size())}
				for i := range x.Data {
					x.Data[i] = float64(i%4) - 1
				}
				op.BindPeers(between{x})
			} else {
				op.BindPeers(between{})
			}
		}
	}
	var all [][]float64
	for _, n := range backward {
		all = append(all, evaluate(t, data, n))
	}
	return all
}

// recomputed names the operations that run again in the backward pass of s,
// and fails where one is not tagged as its original or shares its operation.
func recomputed(t *testing.T, s *Stage) []string {
	t.Helper()
	forward, backward := s.Roots()
	originals := map[string]*Op{}
	for _, n := range Order(forward...) {
		if op := OpOf(n); op != nil {
			originals[op.Tag.Name] = op
			if op.Tag.Recompute {
				t.Errorf("%v runs in the forward pass", op)
			}
		}
	}
	var names []string
	for _, n := range Order(backward...) {
		op := OpOf(n)
		if op == nil || !op.Tag.Recompute || op.Spec.Kind() == "side" {
			continue
		}
		names = append(names, op.Tag.Name)
		if of := originals[op.Tag.Name]; op.Tag.Layer != of.Tag.Layer || op.Tag.Pass != Forward || op.id == of.id {
			t.Errorf("%v, %+v, is a copy of %v, %+v", op, op.Tag, of, of.Tag)
		}
	}
	slices.Sort(names)
	return names
}

func TestRematerialize(t *testing.T) {
	s, data := chain(t)
	want := gradients(t, s, data)
	for _, c := range []struct {
		name  string
		again func(*Stage) func(*G.Node) bool
		want  string
	}{
		{"nothing", func(*Stage) func(*G.Node) bool { return func(*G.Node) bool { return false } }, ""},
		// act_4's result goes only to its Send, so nobody needs it again.
		{"all", func(*Stage) func(*G.Node) bool { return func(*G.Node) bool { return true } }, "act_0 act_1 act_2 act_3 gather norm product"},
		{"one operation", func(*Stage) func(*G.Node) bool {
			return func(n *G.Node) bool { return OpOf(n).Tag.Name == "act_1" }
		}, "act_1"},
		{"gathers", func(*Stage) func(*G.Node) bool { return ParameterGather }, "gather"},
		// act_0 and act_2 leave their layers.
		{"all layers", func(s *Stage) func(*G.Node) bool { return s.Checkpointed([]bool{true, true, true}) }, "act_1 act_3 gather norm product"},
		{"the middle layer", func(s *Stage) func(*G.Node) bool { return s.Checkpointed([]bool{false, true}) }, "act_1 gather product"},
	} {
		s, data := chain(t)
		if err := s.Rematerialize(c.again(s)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(recomputed(t, s), " "); got != c.want {
			t.Errorf("%s: %q is recomputed, want %q", c.name, got, c.want)
		}
		for i, x := range gradients(t, s, data) {
			if !slices.Equal(x, want[i]) {
				t.Errorf("%s: gradient %d is %v, want %v", c.name, i, x, want[i])
			}
		}
	}
}

// TestRematerializeTwice shows that a second call leaves copies as they are but
// for their operands.
func TestRematerializeTwice(t *testing.T) {
	s, data := chain(t)
	want := gradients(t, s, data)
	for _, name := range []string{"act_1", "product", "act_1"} {
		if err := s.Rematerialize(func(n *G.Node) bool { return OpOf(n).Tag.Name == name }); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(recomputed(t, s), " "); got != "act_1 product" {
		t.Errorf("%q is recomputed", got)
	}
	for i, x := range gradients(t, s, data) {
		if !slices.Equal(x, want[i]) {
			t.Errorf("gradient %d is %v, want %v", i, x, want[i])
		}
	}
}

func TestRematerializeNeedsGradients(t *testing.T) {
	b := NewBuilder(tensor.Float64)
	b.Layer("all", "all", "")
	b.Logits(b.Apply("act", Activation{SiLU}, b.Param("x", Init{}, 2)))
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	err = Whole(m).Rematerialize(func(*G.Node) bool { return true })
	if err == nil || !strings.Contains(err.Error(), "x has no gradient: differentiate the stage first") {
		t.Errorf("error %v", err)
	}
}

func TestParameterGather(t *testing.T) {
	g := G.NewGraph()
	axis := Axis{Name: "dp", Size: 1}
	apply := func(s Spec, in ...*G.Node) *G.Node {
		n, err := Apply(s, Tag{}, in...)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	w, ids := leaf(g, "w", f64(2, 2)), leaf(g, "ids", i32(2, 2))
	once := apply(AllGather{Axis: axis}, apply(Copy{Axis: axis}, w))
	act := apply(Activation{SiLU}, w)
	for _, c := range []struct {
		node *G.Node
		want bool
	}{
		{w, false},
		{once, true},
		{apply(AllGather{Axis: axis, Dim: 1}, once), true},
		{apply(Slice{Axis: axis}, w), true},
		{act, false},
		{apply(AllGather{Axis: axis}, act), false},
		{apply(AllGather{Axis: axis}, ids), false},
		{apply(AllReduce{Axis: axis}, w), false},
	} {
		if got := ParameterGather(c.node); got != c.want {
			t.Errorf("%v: %v, want %v", c.node, got, c.want)
		}
	}
}
