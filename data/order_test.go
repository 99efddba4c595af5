package data

import (
	"testing"

	"pgregory.net/rapid"
)

func TestPermutationIsABijection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(1, 3000).Draw(t, "n")
		p := newPermutation(n, rapid.Uint64().Draw(t, "key"))
		seen := make([]bool, n)
		for i := range n {
			j := p.at(i)
			if j >= n || seen[j] {
				t.Fatalf("%d goes to %d, which is outside or taken", i, j)
			}
			seen[j] = true
		}
	})
}

func TestPermutationMoves(t *testing.T) {
	const n = 100_000
	p, q := newPermutation(n, 1), newPermutation(n, 2)
	fixed, same, ordered := 0, 0, 0
	for i := range uint64(n) {
		a := p.at(i)
		if a == i {
			fixed++
		}
		if a == q.at(i) {
			same++
		}
		if a < p.at((i+1)%n) {
			ordered++
		}
	}
	if fixed > 20 || same > 20 || ordered < n*49/100 || ordered > n*51/100 {
		t.Errorf("%d fixed points, %d alike under two keys, %d rising pairs of %d", fixed, same, ordered, n)
	}
}

func TestShuffledReadsEveryWindowOnceAnEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seq, batch := rapid.IntRange(1, 9).Draw(t, "seq"), rapid.IntRange(1, 5).Draw(t, "batch")
		extra := rapid.IntRange(0, 1).Draw(t, "extra")
		s := span{rapid.IntRange(0, 50).Draw(t, "from"), seq + extra + rapid.IntRange(0, 2000).Draw(t, "more")}
		o := newShuffled(s, batch, seq, extra, rapid.Uint64().Draw(t, "seed"))
		if lost := s.count - extra - o.windows*seq; lost >= 2*seq || o.windows < 1 {
			t.Fatalf("%d windows leave %d tokens unread", o.windows, lost)
		}
		for epoch := range 3 {
			starts, phase := map[int]bool{}, 0
			for i := range o.windows {
				g := epoch*o.windows + i
				at := o.start(g/batch, g%batch)
				if at < s.from || at+seq+extra > s.from+s.count {
					t.Fatalf("window [%d, %d) leaves %+v", at, at+seq+extra, s)
				}
				if i == 0 {
					phase = (at - s.from) % seq
				}
				if starts[at] || (at-s.from)%seq != phase {
					t.Fatalf("epoch %d: window at %d is read twice or overlaps another", epoch, at)
				}
				starts[at] = true
			}
		}
	})
}

func TestBelow(t *testing.T) {
	var counts [10]int
	for i := range uint64(10_000) {
		counts[below(draw(i), 10)]++
	}
	for digit, n := range counts {
		if n < 850 || n > 1150 {
			t.Errorf("%d came %d times in 10000", digit, n)
		}
	}
}
