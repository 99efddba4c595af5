package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// check runs a property under each instruction set. run must compute with the
// pool it is given and return what it computed; check calls it with one thread
// and with three, and wants the same bits.
func check(t *testing.T, property func(t *rapid.T) (run func(p *Pool) [][]float32, verify func(t *rapid.T, got [][]float32))) {
	t.Helper()
	checkSets(t, available(), property)
}

// checkSets is check for certain sets of inner loops.
func checkSets(t *testing.T, sets []*inner, property func(t *rapid.T) (run func(p *Pool) [][]float32, verify func(t *rapid.T, got [][]float32))) {
	t.Helper()
	one, three := NewPool(1), NewPool(3)
	defer one.Close()
	defer three.Close()
	defer active.Store(active.Load())
	for _, in := range sets {
		t.Run(string(in.isa), func(t *testing.T) {
			active.Store(in)
			rapid.Check(t, func(t *rapid.T) {
				run, verify := property(t)
				got := run(one)
				again := run(three)
				for i := range got {
					for j := range got[i] {
						if math.Float32bits(got[i][j]) != math.Float32bits(again[i][j]) {
							t.Fatalf("result %d, element %d: %g with one thread, %g with three", i, j, got[i][j], again[i][j])
						}
					}
				}
				verify(t, got)
			})
		})
	}
}

// sizes draws a size up to limit, edges more often.
func size(limit int) *rapid.Generator[int] {
	edges := []int{1, 2, 3, 7, 8, 13, 16, 17, 31, 47, 48, 49, 64, 97, 128, 131}
	edges = slices.DeleteFunc(edges, func(n int) bool { return n > limit })
	return rapid.OneOf(rapid.IntRange(1, limit), rapid.SampledFrom(edges))
}

// random draws a generator of normal values.
func random(t *rapid.T) func(n int) []float32 {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	return func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
}

// near fails unless got is within tolerance of want, relative to scale or to
// want, whichever is larger.
func near(t *rapid.T, name string, got []float32, want []float64, tolerance, scale float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", name, len(got), len(want))
	}
	for i, g := range got {
		if w := want[i]; !(math.Abs(float64(g)-w) <= tolerance*max(scale, math.Abs(w))) {
			t.Fatalf("%s: element %d is %g, want %g", name, i, g, w)
		}
	}
}

func doubles(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// ulps is the distance of got from want in units of want's last place in
// float32.
func ulps(got float32, want float64) float64 {
	w := float32(want)
	if math.IsInf(float64(w), 0) || got == w {
		if got == w {
			return 0
		}
		return math.Inf(1)
	}
	a := math.Float32frombits(math.Float32bits(w) &^ (1 << 31))
	unit := float64(math.Nextafter32(a, math.MaxFloat32) - a)
	return math.Abs(float64(got)-want) / unit
}
