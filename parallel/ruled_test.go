package parallel

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// owned is an operation from outside that brings its rule.
type owned struct {
	graph.Differentiable
	rule func(types []graph.Type, at []Placement) ([]Placement, Placement)
}

func (owned) Kind() string { return "owned" }

func (o owned) Rule(types []graph.Type, at []Placement) ([]Placement, Placement) {
	return o.rule(types, at)
}

// product multiplies two tensors of one shape element by element.
type product struct{ graph.Add }

func (product) Kind() string { return "product" }

func (product) Eval(e *graph.Eval) error {
	for i, x := range e.In[0].Data {
		e.Out.Data[i] = x * e.In[1].Data[i]
	}
	return nil
}

func (product) Grad(g *graph.Gradient) []*G.Node {
	return []*G.Node{g.Apply(product{}, g.In[1], g.Dy), g.Apply(product{}, g.In[0], g.Dy)}
}

// TestOwnRules shows that the rules for operations from outside keep their
// mathematics.
func TestOwnRules(t *testing.T) {
	for _, c := range []ruleCase{
		{name: "elementwise", spec: owned{product{}, Elementwise}, in: []graph.Type{f64(6, 6), f64(6, 6)}},
		{name: "rowwise", spec: owned{graph.LayerNorm{Eps: 1e-5}, Rowwise(1)}, in: []graph.Type{f64(6, 6, 6), f64(6), f64(6)}},
		{name: "rowwise without parameters", spec: owned{graph.Activation{F: graph.SiLU}, Rowwise(2)}, in: []graph.Type{f64(6, 6, 6)}},
		{name: "alike", spec: owned{graph.RMSNorm{Eps: 1e-5}, Alike}, in: []graph.Type{f64(6, 6), f64(6)}},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t) })
	}
}

// TestElementwiseStays shows that shards stay where they are.
func TestElementwiseStays(t *testing.T) {
	for _, at := range [][]Placement{{Shard(1), Shard(1)}, {Replicate, Shard(1)}} {
		if in, out := Elementwise(nil, at); out != Shard(1) || !slices.Equal(in, []Placement{Shard(1), Shard(1)}) {
			t.Errorf("%v needs %v and gives %v", at, in, out)
		}
	}
}

// TestRuleErrors shows what a missing or an impossible rule gives.
func TestRuleErrors(t *testing.T) {
	partition := func(s graph.Spec) error {
		toy := gpt(1, 4, toySeq)
		m := toy.build(t)
		replaceLogits(t, m, s)
		_, err := Partition(m, plan(t, "dp=2"), 0)
		return err
	}
	var missing *RuleError
	if err := partition(product{}); !errors.As(err, &missing) || missing.Kind != "product" || !strings.Contains(err.Error(), "let parallel.product implement parallel.Ruled") {
		t.Errorf("no rule: %v", err)
	}
	for _, c := range []struct {
		in   []Placement
		out  Placement
		want string
	}{
		{[]Placement{Replicate}, Replicate, "it places 1 of 2 operands"},
		{[]Placement{Replicate, -1}, Replicate, "there is no placement -1"},
		{[]Placement{Shard(9), Replicate}, Replicate, "shards dimension 9, which"},
		{[]Placement{Replicate, Replicate}, Shard(9), "shards dimension 9, which"},
		{[]Placement{Replicate, Replicate}, Shard(0), "the placement rule of owned is wrong: result"},
	} {
		err := partition(owned{product{}, func([]graph.Type, []Placement) ([]Placement, Placement) { return c.in, c.out }})
		var e *PartitionError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, %v: error %v, want %q", c.in, c.out, err, c.want)
		}
	}
}

// replaceLogits makes the model's logits s of them, twice.
func replaceLogits(t *testing.T, m *graph.Model, s graph.Spec) {
	t.Helper()
	n, err := graph.Apply(s, graph.Tag{Layer: len(m.Layers) - 1, Name: "own"}, m.Logits, m.Logits)
	if err != nil {
		t.Fatal(err)
	}
	m.Logits, m.Loss = n, nil
}
