package parallel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

// placedMesh has three axes.
var placedMesh = Mesh{{"a", 2}, {"b", 3}, {"c", 2}}

// TestOffsetsOnThreeAxes shards operands of the operations that compute by
// position along several dimensions at once, and one dimension along several
// axes, and finds the result and the gradients of the whole.
func TestOffsetsOnThreeAxes(t *testing.T) {
	R, S, C := Replicate, Shard, Copied
	for _, c := range []struct {
		ruleCase
		layouts [][]Layout // of the first two operands; the third is replicated
	}{
		{
			ruleCase{name: "dropout", spec: graph.Dropout{P: 0.4, Site: 2}, in: []graph.Type{f64(12, 6, 12), i32(graph.RNGWords)}, draw: constants(1, 1, 2, 3, 24, 1)},
			[][]Layout{{{S(0), S(1), S(2)}, {R, R, R}}, {{S(2), S(0), S(0)}, {R, R, R}}, {{S(2), S(2), S(2)}, {R, R, R}}, {{S(0), Partial, S(1)}, {R, R, R}}},
		},
		{
			ruleCase{name: "add_position", spec: graph.AddPosition{}, in: []graph.Type{f64(2, 12, 6), f64(15, 6), i32(1)}, draw: constants(2, 3)},
			[][]Layout{
				{{S(0), S(1), S(1)}, {C, C, C}}, {{S(0), S(1), S(1)}, {C, S(0), C}}, {{S(1), S(2), S(1)}, {C, S(1), C}},
				{{Partial, R, S(0)}, {C, R, C}}, {{S(1), Partial, R}, {C, C, S(1)}},
			},
		},
		{
			ruleCase{name: "embedding", spec: graph.Embedding{}, in: []graph.Type{i32(2, 6), f64(12, 6)}, draw: integers(0, 12)},
			[][]Layout{
				{{R, R, R}, {S(0), R, S(0)}}, {{R, R, R}, {R, S(0), S(1)}}, {{S(0), S(1), R}, {C, C, S(0)}},
				{{S(0), S(1), R}, {C, S(0), S(0)}}, {{R, S(1), S(1)}, {S(1), C, S(0)}}, {{S(1), S(1), R}, {C, S(0), S(1)}},
			},
		},
		{
			ruleCase{name: "cross_entropy", spec: graph.CrossEntropy{}, in: []graph.Type{f64(2, 6, 12), i32(2, 6), f64()}, draw: integers(1, 12)},
			[][]Layout{
				{{S(0), S(1), S(2)}, {R, R, R}}, {{S(0), S(2), S(2)}, {S(0), S(1), R}}, {{S(2), S(1), S(2)}, {R, R, R}}, {{S(2), R, Partial}, {R, R, R}},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, at := range c.layouts {
				if len(c.in) == 3 {
					at = append(at, Layout{R, R, R})
				}
				if err := c.checkLayouts(at); err != nil {
					t.Errorf("%v: %v", at, err)
				}
			}
		})
	}
}

// constants sets an operand.
func constants(operand int, values ...float64) func(*rand.Rand, int, []float64) {
	return func(_ *rand.Rand, i int, x []float64) {
		if i == operand {
			copy(x, values)
		}
	}
}

// checkLayouts runs the operation on placedMesh.
func (c ruleCase) checkLayouts(at []Layout) error {
	r := rand.New(rand.NewPCG(8, 9))
	whole := make([][]float64, len(c.in))
	for i, typ := range c.in {
		whole[i] = normal(r, typ.Size())
		c.draw(r, i, whole[i])
	}
	out, _, err := c.spec.Infer(c.in)
	if err != nil {
		return err
	}
	dy := normal(r, out.Size())
	want, _, err := c.run(1, make([]Placement, len(at)), whole, dy, out)
	if err != nil {
		return err
	}
	var outAt Layout
	got, err := meshed(placedMesh, func(axes []graph.Axis) (map[*G.Node][]float64, []*G.Node, error) {
		w := &walker{
			part: &Part{Stage: &graph.Stage{Graph: G.NewGraph()}}, stageOf: []int{0}, axes: axes, tables: slices.Repeat([][]Table{{Replicated{}}}, len(axes)),
			converted: map[conversionKey]*value{}, names: map[string]int{},
		}
		leaves := map[*G.Node][]float64{}
		leaf := func(name string, typ graph.Type, at Layout, x []float64) *value {
			v := &value{name: name, typ: typ, at: at}
			local, _ := at.local(typ, axes)
			v.node, _ = graph.NewLeaf(w.part.Stage.Graph, name, local)
			leaves[v.node] = cut(x, typ.Shape, w.parts(v))
			for i, p := range at {
				if p == Partial && axes[i].Rank > 0 {
					clear(leaves[v.node])
				}
			}
			return v
		}
		var in []*value
		var wrt G.Nodes
		for i, typ := range c.in {
			in = append(in, leaf(fmt.Sprintf("in%d", i), typ, at[i], slices.Clone(whole[i])))
			if c.spec.Wrt(len(c.in))[i] {
				wrt = append(wrt, in[i].node)
			}
		}
		y, err := w.apply(c.spec, graph.Tag{Name: c.name}, in)
		if err != nil {
			return nil, nil, err
		}
		if axes[0].Rank+axes[1].Rank+axes[2].Rank == 0 {
			outAt = y.at
		}
		grads, err := G.Backpropagate(G.Nodes{y.node}, G.Nodes{leaf("dy", out, gradientOf(y.at), slices.Clone(dy)).node}, wrt)
		return leaves, append([]*G.Node{y.node}, grads...), err
	})
	if err != nil {
		return err
	}
	errs := []error{sameLaidOut(got, 0, want[0][0], out.Shape, outAt)}
	for i, k := 0, 1; i < len(c.in); i++ {
		if c.spec.Wrt(len(c.in))[i] {
			errs = append(errs, sameLaidOut(got, k, want[0][k], c.in[i].Shape, gradientOf(at[i])))
			k++
		}
	}
	return errors.Join(errs...)
}

// gradientOf is the layout of the gradient of a value.
func gradientOf(l Layout) Layout {
	g := make(Layout, len(l))
	for i, p := range l {
		g[i] = p.Gradient()
	}
	return g
}

// sameLaidOut checks value k of all ranks of placedMesh against the whole.
func sameLaidOut(got [][][]float64, k int, whole []float64, shape tensor.Shape, at Layout) error {
	for rank := range got {
		axes := axesOf(placedMesh, rank)
		var total []float64
		for other := range got {
			same := true // but for the axes that are summed over
			for i, a := range axesOf(placedMesh, other) {
				same = same && (at[i] == Partial || a.Rank == axes[i].Rank)
			}
			if same {
				total = sum(total, got[other][k])
			}
		}
		if want := cut(whole, shape, at.parts(len(shape), axes, at.natural())); !slices.EqualFunc(total, want, near) {
			return fmt.Errorf("value %d, placed %v: rank %d has %v, expected %v", k, at, rank, total, want)
		}
	}
	return nil
}

// TestDropoutIsPartitionInvariant draws layouts and finds, bit for bit, the
// elements of the whole.
func TestDropoutIsPartitionInvariant(t *testing.T) {
	choice := rapid.SampledFrom([]Placement{Replicate, Shard(0), Shard(1), Shard(2), Shard(3)})
	shape := tensor.Shape{12, 12, 12, 12}
	x := slices.Repeat([]float64{1}, shape.TotalSize())
	state := []float64{1, 2, 3, 7, 1}
	draw := func(s graph.Spec, shape []int, x []float64) []float64 {
		e := graph.Eval{
			In:  []graph.Operand{{Type: f64(shape...), Data: x}, {Type: i32(graph.RNGWords), Data: state}},
			Out: graph.Operand{Type: f64(shape...), Data: make([]float64, len(x))},
		}
		if err := s.Eval(&e); err != nil {
			t.Fatal(err)
		}
		return e.Out.Data
	}
	dropout := graph.Dropout{P: 0.5, Site: 3}
	whole := draw(dropout, shape, x)
	rapid.Check(t, func(t *rapid.T) {
		at := Layout{choice.Draw(t, "a"), choice.Draw(t, "b"), choice.Draw(t, "c")}
		axes := axesOf(placedMesh, rapid.IntRange(0, placedMesh.Size()-1).Draw(t, "rank"))
		parts := at.parts(len(shape), axes, at.natural())
		local, err := at.local(f64(shape...), axes)
		if err != nil {
			t.Fatal(err)
		}
		got := draw(dropout.Place(parts, nil), local.Shape, x[:local.Size()])
		if want := cut(whole, shape, parts); !slices.Equal(got, want) {
			t.Fatalf("%v: %v, expected %v", at, got, want)
		}
	})
}

// TestNoGatherOfTheVocabulary partitions a model whose tied embedding is sharded
// along the vocabulary: neither the table nor the logits are ever joined.
func TestNoGatherOfTheVocabulary(t *testing.T) {
	for name, table := range map[string]Table{"": TensorParallel{}, " with sequence parallelism": TensorParallel{Sequence: true}} {
		t.Run("megatron"+name, func(t *testing.T) {
			s := gpt(2, 2, toySeq)
			s.dropout = 0.1
			part, err := PartitionBy(s.build(t), plan(t, "tp=2"), 1, map[string]Table{AxisTP: table})
			if err != nil {
				t.Fatal(err)
			}
			if err := part.Stage.Differentiate(); err != nil {
				t.Fatal(err)
			}
			for _, n := range part.Stage.Graph.AllNodes() {
				op := graph.OpOf(n)
				if op == nil {
					continue
				}
				if _, ok := op.Spec.(graph.AllGather); ok && (slices.Contains(op.Out().Shape, toyV) || strings.HasPrefix(op.Tag.Name, "wte@")) {
					t.Errorf("%v joins %v to %v", op, op.In()[0], op.Out())
				}
			}
			if part.Stage.Logits != nil {
				t.Errorf("with a loss there are logits %v", graph.TypeOf(part.Stage.Logits))
			}
			m := s.build(t)
			m.Loss = nil
			part, err = PartitionBy(m, plan(t, "tp=2"), 1, map[string]Table{AxisTP: table})
			if err != nil {
				t.Fatal(err)
			}
			if got := graph.TypeOf(part.Stage.Logits).Shape; !slices.Equal(got, tensor.Shape{2, toySeq, toyV}) {
				t.Errorf("without a loss the logits are %v", got)
			}
		})
	}
}

// TestSlicedIntegersAreNotJoined needs ids first as shards, then whole: what
// they were sliced from is still there.
func TestSlicedIntegersAreNotJoined(t *testing.T) {
	axes := axesOf(placedMesh, 5)
	w := &walker{
		part: &Part{Stage: &graph.Stage{Graph: G.NewGraph()}}, stageOf: []int{0}, axes: axes, tables: slices.Repeat([][]Table{{Replicated{}}}, len(axes)),
		converted: map[conversionKey]*value{}, names: map[string]int{},
	}
	leaf, err := graph.NewLeaf(w.part.Stage.Graph, "ids", i32(12, 12))
	if err != nil {
		t.Fatal(err)
	}
	ids := &value{name: "ids", typ: i32(12, 12), at: Layout{Replicate, Replicate, Replicate}, node: leaf}
	halves := Layout{Shard(0), Replicate, Replicate}
	cut, err := w.convert(ids, Layout{Shard(0), Shard(1), Shard(1)}, graph.Tag{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Layout{{Copied, Replicate, Copied}, halves} {
		got, err := w.convert(cut, want, graph.Tag{})
		if err != nil {
			t.Fatal(err)
		}
		if op := graph.OpOf(got.node); op != nil && op.Spec.Kind() != "slice" || want[0] == Copied && got != ids {
			t.Errorf("%v: %v", want, got.node)
		}
	}
}
