package parallel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

// ruleCase is an operation on operands whose dimensions divide by 2 and 3.
type ruleCase struct {
	name string
	spec graph.Differentiable
	in   []graph.Type
	draw func(r *rand.Rand, i int, x []float64) // other than normal
	ring bool                                   // the axis asks for ring attention
}

func f64(shape ...int) graph.Type { return graph.Type{Dtype: tensor.Float64, Shape: shape} }
func i32(shape ...int) graph.Type { return graph.Type{Dtype: tensor.Int32, Shape: shape} }

func integers(operand, below int) func(*rand.Rand, int, []float64) {
	return func(r *rand.Rand, i int, x []float64) {
		for j := range x {
			if i == operand {
				x[j] = float64(r.IntN(below))
			}
		}
	}
}

var ruleCases = []ruleCase{
	{name: "activation", spec: graph.Activation{F: graph.SiLU}, in: []graph.Type{f64(6, 6)}},
	{name: "add", spec: graph.Add{}, in: []graph.Type{f64(6, 6), f64(6, 6)}},
	{name: "add_bias", spec: graph.AddBias{}, in: []graph.Type{f64(6, 6, 6), f64(6)}},
	{name: "add_bias of heads", spec: graph.AddBias{}, in: []graph.Type{f64(6, 6, 6, 6), f64(6, 6)}},
	{name: "embedding", spec: graph.Embedding{}, in: []graph.Type{i32(6, 6), f64(6, 6)}, draw: integers(0, 6)},
	{name: "add_position", spec: graph.AddPosition{}, in: []graph.Type{f64(6, 6, 6), f64(6, 6)}},
	{name: "add_position from a start", spec: graph.AddPosition{}, in: []graph.Type{f64(6, 6, 6), f64(12, 6), i32(1)}, draw: integers(2, 6)},
	{name: "layer_norm", spec: graph.LayerNorm{Eps: 1e-5}, in: []graph.Type{f64(6, 6, 6), f64(6), f64(6)}},
	{name: "rms_norm", spec: graph.RMSNorm{Eps: 1e-5}, in: []graph.Type{f64(6, 6, 6), f64(6)}},
	{name: "linear", spec: graph.Linear{Contract: 1}, in: []graph.Type{f64(6, 6, 6), f64(6, 6), f64(6)}},
	{name: "linear transposed", spec: graph.Linear{Contract: 1, Transposed: true}, in: []graph.Type{f64(6, 6, 6), f64(6, 6), f64(6)}},
	{name: "linear to heads", spec: graph.Linear{Contract: 1}, in: []graph.Type{f64(6, 6, 6), f64(6, 6, 6), f64(6, 6)}},
	{name: "linear from heads", spec: graph.Linear{Contract: 2, Transposed: true}, in: []graph.Type{f64(6, 6, 6, 6), f64(6, 6, 6)}},
	{name: "matmul NN", spec: graph.MatMul{}, in: []graph.Type{f64(6, 6, 6), f64(6, 6, 6)}},
	{name: "matmul TT", spec: graph.MatMul{TransA: true, TransB: true}, in: []graph.Type{f64(6, 6, 6), f64(6, 6, 6)}},
	{name: "attention", spec: graph.Attention{Causal: true}, in: []graph.Type{f64(6, 6, 12, 6), f64(6, 6, 6, 6), f64(6, 6, 6, 6)}},
	{name: "masked attention", spec: graph.Attention{Packed: true, Masked: true}, in: []graph.Type{f64(6, 6, 3, 6, 6), i32(6, 6)}, draw: integers(1, 2)},
	{name: "ring attention", ring: true, spec: graph.Attention{Causal: true}, in: []graph.Type{f64(6, 6, 12, 6), f64(6, 6, 6, 6), f64(6, 6, 6, 6)}},
	{name: "ring attention, packed", ring: true, spec: graph.Attention{Packed: true, Causal: true}, in: []graph.Type{f64(6, 6, 3, 6, 6)}},
	{name: "ring attention, masked", ring: true, spec: graph.Attention{Masked: true}, in: []graph.Type{f64(6, 6, 6, 6), f64(6, 6, 6, 6), f64(6, 6, 6, 6), i32(6, 6)}, draw: integers(3, 2)},
	{name: "ring attention, packed and masked", ring: true, spec: graph.Attention{Packed: true, Masked: true, Causal: true}, in: []graph.Type{f64(6, 6, 3, 6, 6), i32(6, 6)}, draw: integers(1, 2)},
	{name: "cross_entropy", spec: graph.CrossEntropy{}, in: []graph.Type{f64(6, 6, 6), i32(6, 6), f64()}, draw: func(r *rand.Rand, i int, x []float64) {
		integers(1, 6)(r, i, x)
		if i == 1 {
			x[2] = graph.IgnoreIndex
		}
	}},
	{name: "dropout", spec: graph.Dropout{P: 0.4, Site: 2}, in: []graph.Type{f64(6, 6, 6), i32(graph.RNGWords)}, draw: func(_ *rand.Rand, i int, x []float64) {
		if i == 1 {
			copy(x, []float64{1, 2, 3, 18, 1})
		}
	}},
}

// TestRulesCoverAllOperations says which forward operations have a rule.
func TestRulesCoverAllOperations(t *testing.T) {
	tested := map[string]bool{}
	for _, c := range ruleCases {
		tested[c.spec.Kind()] = true
	}
	for kind := range rules {
		if !tested[kind] {
			t.Errorf("no test of the rule of %s", kind)
		}
	}
}

// TestRulesKeepTheMathematics places the operands of each operation at random,
// lets the rule decide, and compares the result and every gradient with those
// of the operation on whole operands.
func TestRulesKeepTheMathematics(t *testing.T) {
	for _, c := range ruleCases {
		t.Run(c.name, func(t *testing.T) { c.test(t) })
	}
}

func (c ruleCase) test(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 3).Draw(t, "ranks")
		at := make([]Placement, len(c.in))
		for i, typ := range c.in {
			at[i] = c.drawPlacement(t, i, typ)
		}
		c.check(t, n, at)
	})
}

// drawPlacement draws any placement that the operand can have.
func (c ruleCase) drawPlacement(t *rapid.T, i int, typ graph.Type) Placement {
	choices := []Placement{Replicate}
	if typ.IsFloat() && c.spec.Wrt(len(c.in))[i] {
		choices = append(choices, Copied, Partial)
	}
	for d, size := range typ.Shape {
		if size%6 == 0 {
			choices = append(choices, Shard(d))
		}
	}
	return rapid.SampledFrom(choices).Draw(t, fmt.Sprintf("operand %d", i))
}

func (c ruleCase) check(t *rapid.T, n int, at []Placement) {
	r := rand.New(rand.NewPCG(8, 9))
	whole := make([][]float64, len(c.in))
	for i, typ := range c.in {
		whole[i] = normal(r, typ.Size())
		if c.draw != nil {
			c.draw(r, i, whole[i])
		}
	}
	out, _, err := c.spec.Infer(c.in)
	if err != nil {
		t.Fatal(err)
	}
	dy := normal(r, out.Size())
	want, _, err := c.run(1, make([]Placement, len(at)), whole, dy, out)
	if err != nil {
		t.Fatal(err)
	}
	got, outAt, err := c.run(n, at, whole, dy, out)
	var refused *ConversionError
	if errors.As(err, &refused) {
		if refused.From != Copied {
			t.Fatalf("%v: %v", at, err)
		}
		return // a copied operand where the others ask for parts of it
	}
	if err != nil {
		t.Fatalf("%v: %v", at, err)
	}
	c.compare(t, got, want[0], at, outAt, out)
}

// compare compares the result and the gradients, in the order run gives them.
func (c ruleCase) compare(t *rapid.T, got [][][]float64, want [][]float64, at []Placement, outAt Placement, out graph.Type) {
	shapes, places := []tensor.Shape{out.Shape}, []Placement{outAt}
	for i, wrt := range c.spec.Wrt(len(c.in)) {
		if wrt {
			shapes, places = append(shapes, c.in[i].Shape), append(places, at[i].Gradient())
		}
	}
	for k := range want {
		ranks := make([][]float64, len(got))
		for r := range got {
			ranks[r] = got[r][k]
		}
		if err := samePlaced(ranks, want[k], shapes[k], places[k]); err != nil {
			t.Fatalf("operands %v, result %v: value %d, placed %v: %v", at, outAt, k, places[k], err)
		}
	}
}

// run applies the operation on n ranks and returns, for each, the result and
// the gradients; and the placement of the result.
func (c ruleCase) run(n int, at []Placement, whole [][]float64, dy []float64, out graph.Type) ([][][]float64, Placement, error) {
	places := make([]Placement, n)
	values, err := ranked(n, func(axis graph.Axis) (map[*G.Node][]float64, []*G.Node, error) {
		r := rand.New(rand.NewPCG(1, 1)) // all ranks draw the same parts of a sum
		w := &walker{
			part: &Part{Stage: &graph.Stage{Graph: G.NewGraph()}}, stageOf: []int{0}, axes: []graph.Axis{axis},
			tables: [][]Table{{Replicated{}}}, converted: map[conversionKey]*value{}, names: map[string]int{},
		}
		if c.ring {
			w.tables[0][0] = ContextParallel{}
		}
		leaves := map[*G.Node][]float64{}
		leaf := func(name string, typ graph.Type, at Placement, x []float64) (*value, error) {
			local, err := Layout{at}.local(typ, w.axes)
			if err != nil {
				return nil, err
			}
			node, err := graph.NewLeaf(w.part.Stage.Graph, name, local)
			if err != nil {
				return nil, err
			}
			leaves[node] = placed(r, x, typ.Shape, at, n)[axis.Rank]
			return &value{name: name, typ: typ, at: Layout{at}, node: node}, nil
		}
		var in []*value
		var wrt G.Nodes
		for i, typ := range c.in {
			v, err := leaf(fmt.Sprintf("in%d", i), typ, at[i], whole[i])
			if err != nil {
				return nil, nil, err
			}
			if in = append(in, v); c.spec.Wrt(len(c.in))[i] {
				wrt = append(wrt, v.node)
			}
		}
		y, err := w.apply(c.spec, graph.Tag{Name: c.name}, in)
		if err != nil {
			return nil, nil, err
		}
		places[axis.Rank] = y.at[0]
		seed, err := leaf("dy", out, y.at[0].Gradient(), dy)
		if err != nil {
			return nil, nil, err
		}
		grads, err := G.Backpropagate(G.Nodes{y.node}, G.Nodes{seed.node}, wrt)
		return leaves, append([]*G.Node{y.node}, grads...), err
	})
	return values, places[0], err
}
