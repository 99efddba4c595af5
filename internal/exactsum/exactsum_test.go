package exactsum

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// terms are what is summed: any size, both signs.
var terms = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float64 {
	return math.Ldexp(rapid.Float64Range(-1, 1).Draw(t, "fraction"), rapid.IntRange(-140, 120).Draw(t, "exponent"))
}), 0, 40)

// TestSum adds up in any order, on any number of ranks, and finds the bits of
// one order on one rank, and the sum that math/big has.
func TestSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		xs := terms.Draw(t, "terms")
		want := new(big.Float).SetPrec(400)
		var one Sum
		for _, x := range xs {
			one.Add(x)
			want.Add(want, new(big.Float).SetFloat64(cut(x)))
		}
		exact, _ := want.Float64()
		if got := one.Value(); math.Abs(got-exact) > 0x1p-51*math.Abs(exact) {
			t.Fatalf("%v, want %v", got, exact)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		r.Shuffle(len(xs), func(i, j int) { xs[i], xs[j] = xs[j], xs[i] })
		ranks := make([]Sum, rapid.IntRange(1, 256).Draw(t, "ranks"))
		for _, x := range xs {
			ranks[r.IntN(len(ranks))].Add(x)
		}
		message := make([]float32, Size)
		for i := range ranks {
			part := make([]float32, Size)
			ranks[i].Put(part)
			for j, v := range part {
				message[j] += v
			}
		}
		var all Sum
		all.Take(message)
		if all.Value() != one.Value() {
			t.Fatalf("%d ranks: %v, one: %v", len(ranks), all.Value(), one.Value())
		}
	})
}

// cut drops what is finer than 2^-128.
func cut(x float64) float64 {
	if math.Abs(x) >= 1 {
		return x
	}
	return math.Ldexp(math.Trunc(math.Ldexp(x, 128)), -128)
}

// TestBeyond passes on what is no finite number of the range.
func TestBeyond(t *testing.T) {
	for _, c := range []struct {
		terms []float64
		want  float64
	}{
		{[]float64{1, math.Inf(1)}, math.Inf(1)},
		{[]float64{math.Inf(-1), 1}, math.Inf(-1)},
		{[]float64{0x1p128}, math.Inf(1)},
		{[]float64{-0x1p127, 1}, math.Inf(-1)},
		{[]float64{math.Inf(1), math.Inf(-1)}, math.NaN()},
		{[]float64{math.NaN(), 1}, math.NaN()},
		{[]float64{0x1.fffffffffffffp126, -0x1.fffffffffffffp126, -3}, -3},
		{nil, 0},
	} {
		var s, after Sum
		for _, x := range c.terms {
			s.Add(x)
		}
		message := make([]float32, Size)
		s.Put(message)
		after.Take(message)
		for _, got := range []float64{s.Value(), after.Value()} {
			if got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
				t.Errorf("%v: %v, want %v", c.terms, got, c.want)
			}
		}
	}
}
