package profile

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/parallel/cluster"
)

// TestLayouts wants each rank in one group of each layout, at its place.
func TestLayouts(t *testing.T) {
	if got, want := layouts(8), []layout{{2, 1}, {2, 2}, {2, 4}, {4, 1}, {4, 2}, {8, 1}}; !slices.Equal(got, want) {
		t.Errorf("8 workers: %v, want %v", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		workers := rapid.IntRange(1, 24).Draw(t, "workers")
		for _, l := range layouts(workers) {
			for rank := range workers {
				group, place := l.group(rank)
				if len(group) != l.Ranks || group[place] != rank || slices.Min(group) < 0 || slices.Max(group) >= workers {
					t.Fatalf("%+v: rank %d in %v at %d", l, rank, group, place)
				}
				for i, other := range group {
					if same, at := l.group(other); !slices.Equal(same, group) || at != i || i > 0 && other != group[i-1]+l.Stride {
						t.Fatalf("%+v: group %v of rank %d, %v of rank %d", l, group, rank, same, other)
					}
				}
			}
		}
	})
}

func TestFigures(t *testing.T) {
	if got, want := summarize([]float64{5, 1, 4, 2, 3}), (figure{3, 2.0 / 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := slowest([][]float64{{1, 1, 9}, {2, 0, 2}, {1, 3, 1}}), []float64{2, 3, 9}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := quantile([]float64{7}, 0.75); got != 7 {
		t.Errorf("quantile of one number: %g", got)
	}
	for _, c := range []struct{ compute, exchange, both, want float64 }{
		{2, 2, 2, 1}, {2, 2, 3, 1.5}, {2, 2, 4, 2}, {2, 2, 9, 2}, {3, 1, 3, 1}, {1, 3, 3.5, 1.5}, {1, 3, 2, 1}, {0, 1, 1, 1},
	} {
		o := overlap{figure{Seconds: c.compute}, figure{Seconds: c.exchange}, figure{Seconds: c.both}}
		if got := o.slowdown(); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%+v: %g", c, got)
		}
	}
}

// TestRepetitions wants the calls to fill the window, between the bounds.
func TestRepetitions(t *testing.T) {
	s := &stand{spec: spec{Window: 60 * time.Millisecond}}
	for _, c := range []struct {
		once         float64
		calls, turns int
	}{{1e-4, 30, 20}, {2e-3, 1, 30}, {0.03, 1, 5}, {0.1, 1, 3}, {1e-9, 1000, 200}, {0, 1000, 200}} {
		if calls, turns := s.repetitions(c.once); calls != c.calls || turns != c.turns {
			t.Errorf("%g s: %d turns of %d calls, want %d of %d", c.once, turns, calls, c.turns, c.calls)
		}
	}
}

// TestAttest wants what was measured where, and no password.
func TestAttest(t *testing.T) {
	c := &cluster.Cluster{Links: []cluster.Link{{Measured: []cluster.Collective{{Points: []cluster.Point{{Spread: 0.25}}}}}}}
	k := key{Processor: "Some CPU", System: "linux/amd64", ISA: "avx2", Threads: 1, Workers: 2, Server: "nats://me:secret@host:4222", Spec: spec{Threads: 1}}
	attest(c, k, "v1", time.Now().Add(-2*time.Second))
	want := "2 worker processes of 1 thread over a NATS server at nats://host:4222, measured in 2.0 s, exchanges with a spread of 25% in the median"
	if c.Note != want || c.Provenance.On != "Some CPU, linux/amd64, avx2 kernels, 1 thread" || c.Provenance.Version != "v1" {
		t.Errorf("%q, %+v", c.Note, c.Provenance)
	}
}

// TestFit finds the link again by whose formula the figures were made.
func TestFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := cluster.Link{
			Name: "nats", Span: 4, Shared: cluster.SharedAll,
			Latency: rapid.Float64Range(1e-6, 1e-3).Draw(t, "latency"), Bandwidth: rapid.Float64Range(1e8, 1e11).Draw(t, "bandwidth"),
		}
		c := &cluster.Cluster{Hosts: 1, PerHost: 4, Overlap: 1, Links: []cluster.Link{want}}
		var measured []cluster.Collective
		for _, l := range layouts(4) {
			for _, kind := range kinds[:3] {
				m := cluster.Collective{Kind: kind, Group: cluster.Group(l)}
				for _, bytes := range sizesTo(16 << 20) {
					flow := c.Flow(cluster.Exchange{Kind: kind, Bytes: bytes, Group: m.Group})
					m.Points = append(m.Points, cluster.Point{Bytes: bytes, Seconds: flow.Latency + flow.Bytes/flow.Rate})
				}
				measured = append(measured, m)
			}
		}
		c.Links = []cluster.Link{{Name: "nats", Span: 4, Shared: cluster.SharedAll, Measured: measured}}
		fit(c)
		got := c.Links[0]
		if math.Abs(got.Latency/want.Latency-1) > 1e-6 || math.Abs(got.Bandwidth/want.Bandwidth-1) > 1e-6 {
			t.Fatalf("%g s and %g bytes/s, want %g and %g", got.Latency, got.Bandwidth, want.Latency, want.Bandwidth)
		}
	})
}
