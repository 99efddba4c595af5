package graph

import (
	"errors"
	"math"
	"strings"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

// TestShapeErrors shows that operands that do not fit are refused with the
// layer, the operation and both shapes.
func TestShapeErrors(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		in   []Type
		want string
	}{
		{Linear{Contract: 1}, []Type{f64(2, 8, 48), f64(64, 48)}, "x ends in [48], the weight takes [64]"},
		{Linear{Contract: 1}, []Type{f64(2, 3, 4), f64(4, 5), f64(4)}, "bias has shape [4], needs [5]"},
		{Linear{Contract: 1}, []Type{f64(2, 3, 4)}, "1 operands, needs 2"},
		{Embedding{}, []Type{f64(2, 3), f64(5, 4)}, "ids is float64[2 3], needs int32"},
		{AddPosition{}, []Type{f64(2, 41, 4), f64(40, 4)}, "sequence of 41 tokens is longer than the model's 40 positions"},
		{LayerNorm{}, []Type{f64(2, 6), f64(5), f64(6)}, "gamma has shape [5], needs [6]"},
		{Add{}, []Type{f64(2, 6), f64(6, 2)}, "second operand has shape [6 2], needs [2 6]"},
		{Add{}, []Type{f64(2), {tensor.Float32, tensor.Shape{2}}}, "element types differ"},
		{Attention{Packed: true}, []Type{f64(2, 4, 2, 3)}, "needs qkv [B T 3 H D]"},
		{Attention{}, []Type{f64(2, 4, 4, 3), f64(2, 4, 3, 3), f64(2, 4, 3, 3)}, "4 query heads are no multiple of 3 key heads"},
		{Attention{Packed: true, Masked: true}, []Type{f64(2, 4, 3, 2, 3), i32(2, 5)}, "mask has shape [2 5], needs [2 4]"},
		{MatMul{}, []Type{f64(2, 3, 4), f64(2, 5, 6)}, "inner sizes differ: 4 and 5"},
		{CrossEntropy{}, []Type{f64(2, 3, 5), i32(2, 4), f64()}, "targets has shape [2 4], needs [2 3]"},
		{CrossEntropy{Vocab: Part{0, 2}}, []Type{f64(2, 3, 5), i32(2, 3), f64()}, "3 operands, needs 4"},
		{CrossEntropy{Vocab: Part{0, 2}}, []Type{f64(2, 3, 5), i32(2, 3), f64(), f64(3, 2, 3)}, "log-sum-exp of all parts has shape [3 2 3], needs [2 2 3]"},
		{LogSumExp{}, []Type{f64(2, 3)}, "needs logits [B T V], has float64[2 3]"},
		{AddPosition{Seq: Part{1, 2}}, []Type{f64(2, 21, 4), f64(40, 4)}, "sequence of 42 tokens is longer than the model's 40 positions"},
		{AllReduce{Axis{"tp", 2, 0}}, []Type{i32(2, 3)}, "operand 0 is int32[2 3], needs float32 or float64"},
		{Dropout{P: 0.5}, []Type{f64(), i32(RNGWords)}, "needs rows, has float64[]"},
		{Dropout{P: 1}, []Type{f64(2), i32(RNGWords)}, "probability 1 is not in [0, 1)"},
		{Activation{"relu7"}, []Type{f64(2)}, `unknown function "relu7"`},
		{Slice{Axis{"dp", 2, 0}, 0}, []Type{f64(3, 4)}, "does not divide by the axis's 2 ranks"},
		{JoinKV{}, []Type{f64(2, 4, 2, 3), f64(2, 4, 3, 3)}, "needs k and v of one shape"},
		{JoinKV{Packed: true}, []Type{f64(2, 4, 2, 3)}, "needs qkv [B T 3 H D]"},
		{AttentionBlock{First: true}, []Type{f64(2, 4, 2, 3), f64(2, 4, 2, 3)}, "needs kv [B U 2 H D]"},
		{AttentionBlock{First: true, Packed: true}, []Type{f64(2, 4, 2, 3), f64(2, 4, 2, 2, 3)}, "needs qkv [B T 3 H D]"},
		{AttentionBlock{First: true}, []Type{f64(2, 4, 3, 3), f64(2, 5, 2, 2, 3)}, "3 query heads are no multiple of 2 key heads"},
		{AttentionBlock{}, []Type{f64(2, 4, 2, 3), f64(2, 4, 2), f64(2, 4, 2, 3), f64(2, 5, 2, 2, 3)}, "lse has shape [2 4 2], needs [2 2 4]"},
		{AttentionBlock{First: true, Masked: true, Keys: 5}, []Type{f64(2, 4, 2, 3), f64(2, 5, 2, 2, 3), i32(2, 9)}, "mask has shape [2 9], needs [2 S], S at least 10"},
		{RingAttention{}, []Type{f64(2, 4, 2, 3), f64(2, 2, 4)}, "2 operands, needs 5"},
		{CachedAttention{}, []Type{f64(1, 2, 3, 2, 3), f64(1, 8, 2, 4), f64(1, 8, 2, 3), i32(1)}, "key cache has shape [1 8 2 4], needs [1 8 2 3]"},
	} {
		g := G.NewGraph()
		var in []*G.Node
		for i, typ := range c.in {
			in = append(in, leaf(g, string(rune('a'+i)), typ))
		}
		_, err := Apply(c.spec, Tag{Layer: 3, Name: "h.2.mlp"}, in...)
		var opErr *OpError
		if !errors.As(err, &opErr) {
			t.Errorf("%s %v: %v, want an OpError", c.spec.Kind(), c.in, err)
			continue
		}
		for _, want := range []string{"layer 3 h.2.mlp: " + c.spec.Kind(), c.want} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not say %q", c.spec.Kind(), err, want)
			}
		}
	}
}

// TestBuilderRemembersFirstError shows that a model reports where it went
// wrong first, and does not panic on what follows.
func TestBuilderRemembersFirstError(t *testing.T) {
	b := NewBuilder(tensor.Float64)
	b.Layer("embedding", "embedding", "")
	x := b.Input("x", tensor.Float64, 2, 3, 4)
	b.Layer("h.0", "block", "h.0.")
	w := b.Param("fc.weight", Init{}, 5, 4)
	y := b.Apply("fc", Linear{Contract: 1}, x, w)
	b.Apply("fc2", Linear{Contract: 1}, y, w)
	_, err := b.Model()
	if err == nil || !strings.Contains(err.Error(), "layer 1 h.0.fc: linear") {
		t.Fatalf("error %v, want the first one, of h.0.fc", err)
	}
}

// TestLeafNamesAreUnique guards against Gorgonia taking two leaves of one name
// for the same.
func TestLeafNamesAreUnique(t *testing.T) {
	b := NewBuilder(tensor.Float64)
	b.Layer("embedding", "embedding", "")
	b.Param("w", Init{}, 2)
	b.Param("w", Init{}, 2)
	if _, err := b.Model(); err == nil || !strings.Contains(err.Error(), `two leaves named "w"`) {
		t.Fatalf("error %v, want one that names the leaf", err)
	}
}

// TestEqualOperationsStayApart shows that two operations that look the same
// are never merged: each dropout site draws its own numbers.
func TestEqualOperationsStayApart(t *testing.T) {
	g := G.NewGraph()
	x := leaf(g, "x", f64(2, 4))
	seen := map[int64]bool{}
	for range 10_000 {
		n, err := Apply(Activation{SiLU}, Tag{}, x)
		if err != nil {
			t.Fatal(err)
		}
		if seen[n.ID()] {
			t.Fatal("two operations were merged")
		}
		seen[n.ID()] = true
	}
}

// TestOrderIsReproducible rebuilds a graph and finds the same order.
func TestOrderIsReproducible(t *testing.T) {
	build := func() string {
		g := G.NewGraph()
		x, w := leaf(g, "x", f64(2, 3, 4)), leaf(g, "w", f64(4, 4))
		n := x
		for range 20 {
			y, _ := Apply(Linear{Contract: 1}, Tag{Name: "fc"}, n, w)
			n, _ = Apply(Add{}, Tag{Name: "add"}, y, n)
		}
		grads, err := G.Backpropagate(G.Nodes{n}, G.Nodes{leaf(g, "dy", TypeOf(n))}, G.Nodes{x, w})
		if err != nil {
			t.Fatal(err)
		}
		var s strings.Builder
		for _, n := range Order(grads...) {
			switch op := OpOf(n); {
			case op != nil:
				s.WriteString(op.Spec.Kind())
			case IsSum(n):
				s.WriteString("sum")
			case IsLeaf(n):
				s.WriteString(n.Name())
			default:
				t.Fatalf("unknown node %v", n)
			}
			s.WriteString(" ")
		}
		return s.String()
	}
	first := build()
	if !strings.Contains(first, "sum") {
		t.Fatal("the graph has no sum of gradients")
	}
	for range 10 {
		if again := build(); again != first {
			t.Fatalf("order changed:\n%s\n%s", first, again)
		}
	}
}

// TestPhiloxKnownAnswers checks the vectors that come with Random123.
func TestPhiloxKnownAnswers(t *testing.T) {
	const f = 0xffffffff
	for _, c := range []struct {
		key           [2]uint32
		counter, want [4]uint32
	}{
		{[2]uint32{}, [4]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[2]uint32{f, f}, [4]uint32{f, f, f, f}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[2]uint32{0xa4093822, 0x299f31d0}, [4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := Philox(c.key, c.counter); got != c.want {
			t.Errorf("Philox(%x, %x) = %x, want %x", c.key, c.counter, got, c.want)
		}
	}
}

// TestDropoutIsSplitInvariant shows that rows of a batch drop the same elements
// whether they are drawn together or apart.
func TestDropoutIsSplitInvariant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, width := rapid.IntRange(2, 6).Draw(t, "rows"), rapid.IntRange(1, 9).Draw(t, "width")
		cut := rapid.IntRange(1, rows-1).Draw(t, "cut")
		s := Dropout{P: 0.5, Site: 7}
		draw := func(first, n int) []float64 {
			x := Operand{f64(n, width), make([]float64, n*width)}
			for i := range x.Data {
				x.Data[i] = 1
			}
			out := Operand{x.Type, make([]float64, len(x.Data))}
			state := Operand{i32(RNGWords), []float64{11, 0, 5, float64(first), 1}}
			if err := s.Eval(&Eval{In: []Operand{x, state}, Out: out}); err != nil {
				t.Fatal(err)
			}
			return out.Data
		}
		whole := draw(0, rows)
		split := append(draw(0, cut), draw(cut, rows-cut)...)
		for i := range whole {
			if whole[i] != split[i] {
				t.Fatalf("element %d: %g whole, %g split", i, whole[i], split[i])
			}
		}
	})
}

// TestCachedAttentionEqualsAttention feeds a sequence to the cache in pieces
// and finds what causal attention gives for the whole.
func TestCachedAttentionEqualsAttention(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const H, D, S = 2, 3, 8
		T := rapid.IntRange(1, S).Draw(t, "tokens")
		data := rapid.SliceOfN(rapid.Float64Range(-2, 2), T*3*H*D, T*3*H*D).Draw(t, "qkv")
		full := &Eval{In: []Operand{{f64(1, T, 3, H, D), data}}}
		full.Out = Operand{f64(1, T, H, D), make([]float64, T*H*D)}
		full.Side = []Operand{{f64(1, H, T), make([]float64, H*T)}}
		if err := (Attention{Causal: true, Packed: true}).Eval(full); err != nil {
			t.Fatal(err)
		}
		cache := func() Operand { return Operand{f64(1, S, H, D), make([]float64, S*H*D)} }
		keys, vals := cache(), cache()
		for start := 0; start < T; {
			n := rapid.IntRange(1, T-start).Draw(t, "piece")
			e := &Eval{
				In:   []Operand{{f64(1, n, 3, H, D), data[start*3*H*D:][:n*3*H*D]}, keys, vals, {i32(1), []float64{float64(start)}}},
				Out:  Operand{f64(1, n, H, D), make([]float64, n*H*D)},
				Side: []Operand{cache(), cache()},
			}
			if err := (CachedAttention{}).Eval(e); err != nil {
				t.Fatal(err)
			}
			keys, vals = e.Side[0], e.Side[1]
			for i, v := range e.Out.Data {
				if want := full.Out.Data[start*H*D+i]; math.Abs(v-want) > 1e-9 {
					t.Fatalf("token %d: %g, whole sequence %g", start+i/(H*D), v, want)
				}
			}
			start += n
		}
	})
}
