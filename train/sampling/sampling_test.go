package sampling

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// draws counts n tokens drawn from logits.
func draws(o Options, logits []float32, n int) []int {
	s := New(o)
	counts := make([]int, len(logits))
	for range n {
		counts[s.Next(logits)]++
	}
	return counts
}

func TestOptionsShapeTheDistribution(t *testing.T) {
	logits := []float32{0, 3, 1, 2}
	for _, c := range []struct {
		name string
		o    Options
		want []int // tokens that may appear
	}{
		{"greedy", Options{TopP: 1}, []int{1}},
		{"top-k 2", Options{Temperature: 1, TopK: 2, TopP: 1}, []int{1, 3}},
		{"top-k above the vocabulary", Options{Temperature: 1, TopK: 99, TopP: 1}, []int{0, 1, 2, 3}},
		{"top-p 0.6 needs one token of 0.64", Options{Temperature: 1, TopP: 0.6}, []int{1}},
		{"top-p 0.7 needs two", Options{Temperature: 1, TopP: 0.7}, []int{1, 3}},
		{"cold", Options{Temperature: 0.01, TopP: 1}, []int{1}},
	} {
		may := map[int]bool{}
		for _, id := range c.want {
			may[id] = true
		}
		for id, n := range draws(c.o, logits, 2000) {
			if (n > 0) != may[id] {
				t.Errorf("%s: token %d drawn %d times", c.name, id, n)
			}
		}
	}
}

func TestFrequenciesFollowSoftmax(t *testing.T) {
	logits := []float32{0, 1, 2}
	const n = 200_000
	counts := draws(Options{Temperature: 0.5, TopP: 1, Seed: 5}, logits, n)
	var total float64
	for _, l := range logits {
		total += math.Exp(float64(l) / 0.5)
	}
	for id, l := range logits {
		want := math.Exp(float64(l)/0.5) / total
		if got := float64(counts[id]) / n; math.Abs(got-want) > 0.005 {
			t.Errorf("token %d: frequency %.4f, probability %.4f", id, got, want)
		}
	}
}

func TestEqualSeedsDrawEqualTokens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			Temperature: rapid.Float64Range(0, 2).Draw(t, "temperature"),
			TopK:        rapid.IntRange(0, 8).Draw(t, "k"),
			TopP:        rapid.Float64Range(0.01, 1).Draw(t, "p"),
			Seed:        rapid.Uint64().Draw(t, "seed"),
		}
		logits := rapid.SliceOfN(rapid.Float32Range(-30, 30), 1, 12).Draw(t, "logits")
		a, b := New(o), New(o)
		for range 20 {
			x, y := a.Next(logits), b.Next(logits)
			if x != y || x < 0 || x >= len(logits) {
				t.Fatalf("drew %d and %d of %d tokens", x, y, len(logits))
			}
		}
	})
}

func TestValidateNamesEveryBadOption(t *testing.T) {
	if err := (Options{Temperature: 0.8, TopP: 1}).Validate(); err != nil {
		t.Error(err)
	}
	bad := Options{Temperature: math.NaN(), TopK: -1, TopP: 0}.Validate()
	want := "--temperature NaN: must not be negative\n--top-k -1: must not be negative\n--top-p 0: must be in (0, 1]"
	if bad == nil || bad.Error() != want {
		t.Errorf("error %v", bad)
	}
}
