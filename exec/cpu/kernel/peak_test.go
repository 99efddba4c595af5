package kernel

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestMulAdds wants every number of every chain in the sum: with x = 2 and
// y = 1 each is 2^n - 1 after n rounds, and with x = 1 it is n.
func TestMulAdds(t *testing.T) {
	one, three := NewPool(1), NewPool(3)
	defer one.Close()
	defer three.Close()
	for _, isa := range ISAs() {
		in, err := lookup(isa)
		if err != nil {
			t.Fatal(err)
		}
		chains := float64(in.chains)
		for _, c := range []struct {
			rounds int
			x      float32
			sum    float64
		}{
			{0, 2, 0}, {1, 2, chains}, {2, 2, 3 * chains}, {10, 2, 1023 * chains},
			{10, 1, 10 * chains}, {peakRounds + 3, 1, (peakRounds + 3) * chains}, {5 * peakRounds, 1, 5 * peakRounds * chains},
		} {
			for _, p := range []*Pool{one, three} {
				flops, sum, err := MulAdds(p, isa, c.rounds, c.x, 1)
				if err != nil {
					t.Fatal(err)
				}
				if want := 2 * chains * float64(c.rounds); flops != want || sum != c.sum {
					t.Errorf("%s, %d rounds, x = %g, %d threads: %g operations, sum %g; want %g, %g", isa, c.rounds, c.x, p.Threads(), flops, sum, want, c.sum)
				}
			}
		}
	}
	var unavailable *ISAError
	if _, _, err := MulAdds(one, "mmx", 1, 1, 1); !errors.As(err, &unavailable) {
		t.Errorf("error %v, want an ISAError", err)
	}
}

func TestSum(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(*rapid.T, [][]float32)) {
		x := random(t)(rapid.IntRange(0, 3*chunk).Draw(t, "n"))
		return func(p *Pool) [][]float32 { return [][]float32{{float32(Sum(p, x))}} },
			func(t *rapid.T, got [][]float32) {
				var want, scale float64
				for _, v := range x {
					want += float64(v)
					scale += math.Abs(float64(v))
				}
				near(t, "sum", got[0], []float64{want}, 1e-6, scale)
			}
	})
}

// TestTriad has y start at and between multiples of 64 bytes, and an element
// behind it that must stay.
func TestTriad(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(*rapid.T, [][]float32)) {
		n := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(chunk, 2*chunk+50)).Draw(t, "n")
		skip := rapid.SampledFrom([]int{0, 0, 1, 16}).Draw(t, "skip")
		draw := random(t)
		a, b, s := draw(n), draw(n), draw(1)[0]
		return func(p *Pool) [][]float32 {
				y := Alloc(skip + n + 1)
				Triad(p, y[skip:skip+n], a, b, s)
				return [][]float32{y[skip:]}
			}, func(t *rapid.T, got [][]float32) {
				want := make([]float64, n+1)
				for i := range n {
					want[i] = float64(a[i]) + float64(s)*float64(b[i])
				}
				near(t, "y", got[0], want, 1e-6, 1)
			}
	})
}
