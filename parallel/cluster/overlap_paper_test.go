package cluster

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// "with A = M*dc*k and R = Bk*k: if A > R: cost = R + (M - R/(dc*k))*dc, else
// cost = A + (Bk - A/k). I.e. both run k times slower while overlapped, the rest
// runs alone." M MB of dc ms each beside a backward pass of Bk ms.
func TestPaperOverlap(t *testing.T) {
	published := func(M, dc, Bk, k float64) float64 {
		A, R := M*dc*k, Bk*k
		if A > R {
			return R + (M-R/(dc*k))*dc
		}
		return A + (Bk - A/k)
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string, low, high float64) float64 { return rapid.Float64Range(low, high).Draw(t, name) }
		M, dc, Bk, k := draw("M", 0, 1e4), draw("dc", 1e-3, 1), draw("Bk", 0, 1e3), draw("k", 1, 3)
		got, want := Overlapped(Bk, M*dc, k), published(M, dc, Bk, k)
		if math.Abs(got-want) > 1e-9*max(1, want) {
			t.Fatalf("%v, published %v", got, want)
		}
	})
}

// "v1 uses 1.3/1.3, from measured DP comm 23 -> 30 us and backward 267 -> 340 us
// when overlapped; ... max(comm delay, compute delay)".
func TestPaperSlowdown(t *testing.T) {
	k := max(30.0/23, 340.0/267)
	if math.Abs(k-titanOverlap) > 0.01 {
		t.Errorf("k = %v, measured %v", titanOverlap, k)
	}
	if got, want := Overlapped(267, 23, titanOverlap), 267+30-23.0; math.Abs(got-want) > 0.2 {
		t.Errorf("267 us beside 23 take %v us, want %v", got, want)
	}
}

// Side by side takes no less than the longer one, and up to k = 2 no more than
// one after the other; more of anything takes no less.
func TestOverlapped(t *testing.T) {
	if got := Overlapped(3, 2, 0); got != 3 {
		t.Errorf("k of a zero value: %v", got)
	}
	if got := Overlapped(3, 2, 2); got != 5 {
		t.Errorf("k = 2 gains something: %v", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string, low, high float64) float64 { return rapid.Float64Range(low, high).Draw(t, name) }
		a, b, k := draw("a", 0, 1e6), draw("b", 0, 1e6), draw("k", 0, 4)
		got := Overlapped(a, b, k)
		if got < max(a, b) || k <= 2 && got > (a+b)*(1+1e-15) || got != Overlapped(b, a, k) {
			t.Fatalf("%v beside %v, k=%v: %v", a, b, k, got)
		}
		if d := draw("more", 0, 1e6); Overlapped(a+d, b, k) < got || Overlapped(a, b, k+d) < got {
			t.Fatalf("%v beside %v, k=%v: %v more takes less", a, b, k, d)
		}
	})
}
