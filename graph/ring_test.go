package graph

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// evalSpec evaluates s on operands.
func evalSpec(t rapid.TB, s Spec, in ...Operand) []Operand {
	t.Helper()
	types := make([]Type, len(in))
	for i, x := range in {
		types[i] = x.Type
	}
	out, side, err := s.Infer(types)
	if err != nil {
		t.Fatal(err)
	}
	results := []Operand{{out, make([]float64, out.Size())}}
	for _, typ := range side {
		results = append(results, Operand{typ, make([]float64, typ.Size())})
	}
	if err := s.Eval(&Eval{In: in, Out: results[0], Side: results[1:]}); err != nil {
		t.Fatal(err)
	}
	return results
}

func sameData(t rapid.TB, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= 1e-9) {
			t.Fatalf("%s: element %d is %g, want %g", what, i, got[i], want[i])
		}
	}
}

// TestAttentionBlocks attends to the tokens of a sequence block by block, all
// queries against each block of keys, and finds what Attention and its gradient
// give for the whole.
func TestAttentionBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		B, KV, D := rapid.IntRange(1, 2).Draw(t, "batch"), rapid.IntRange(1, 2).Draw(t, "key heads"), 2
		H := KV * rapid.IntRange(1, 2).Draw(t, "group")
		whole := Attention{Causal: rapid.Bool().Draw(t, "causal"), Masked: rapid.Bool().Draw(t, "masked")}
		U, blocks := rapid.IntRange(1, 3).Draw(t, "keys"), rapid.IntRange(1, 3).Draw(t, "blocks")
		T := U * blocks
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		draw := func(shape ...int) Operand { return Operand{f64(shape...), drawn(r, f64(shape...), nil)} }
		q, k, v, dy := draw(B, T, H, D), draw(B, T, KV, D), draw(B, T, KV, D), draw(B, T, H, D)
		in := []Operand{q, k, v}
		var mask []Operand
		if whole.Masked {
			mask = []Operand{{i32(B, T), drawn(r, i32(B, T), below(2))}}
		}
		in = append(in, mask...)
		want := evalSpec(t, whole, in...)
		wantGrad := evalSpec(t, AttentionGrad(whole), append([]Operand{want[0], want[1], dy}, in...)...)

		kv := evalSpec(t, JoinKV{}, k, v)[0]
		part := func(i int) Operand {
			x := Operand{f64(B, U, 2, KV, D), make([]float64, B*U*2*KV*D)}
			copyPart(kv, x, 1, i, false)
			return x
		}
		order := rapid.Permutation([]int{0, 1, 2}[:blocks]).Draw(t, "order")
		block := func(step int) AttentionBlock {
			return AttentionBlock{Causal: whole.Causal, Masked: whole.Masked, First: step == 0, Keys: order[step] * U}
		}
		var state []Operand
		for step, i := range order {
			state = evalSpec(t, block(step), slices.Concat(state, []Operand{q, part(i)}, mask)...)
		}
		sameData(t, "out", state[0].Data, want[0].Data)
		dkv, dq := Operand{kv.Type, make([]float64, len(kv.Data))}, Operand{}
		for step, i := range order {
			var before []Operand
			if step > 0 {
				before = []Operand{dq}
			}
			grads := evalSpec(t, AttentionBlockGrad(block(step)), slices.Concat(before, state, []Operand{dy, q, part(i)}, mask)...)
			copyPart(dkv, grads[1], 1, i, true)
			dq = grads[0]
		}
		for i, x := range evalSpec(t, JoinKVGrad{}, dkv, dq) {
			sameData(t, []string{"dq", "dk", "dv"}[i], x.Data, wantGrad[i].Data)
		}
	})
}

// TestJoinKVPacked joins keys and values of a packed tensor, and puts their
// gradients back beside that of the queries.
func TestJoinKVPacked(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	qkv := Operand{f64(2, 3, 3, 2, 4), drawn(r, f64(2, 3, 3, 2, 4), nil)}
	kv := evalSpec(t, JoinKV{Packed: true}, qkv)[0]
	q := Operand{f64(2, 3, 2, 4), nil}
	for i := range 6 {
		q.Data = append(q.Data, qkv.Data[24*i:24*i+8]...)
	}
	sameData(t, "qkv", evalSpec(t, JoinKVGrad{Packed: true}, kv, q)[0].Data, qkv.Data)
}
