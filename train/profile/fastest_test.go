package profile

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/cost"
)

// TestFastest takes the least of every time, and leaves out sizes that not all
// measurements have.
func TestFastest(t *testing.T) {
	layers := func(forward, backward, update float64) *Layers {
		return &Layers{Update: update, Shapes: []LayerShapes{{
			Strategy: parallel.Strategy{DP: 1, TP: 1},
			Points:   []LayerPoint{{Rows: 1, Block: cost.Seconds{Forward: forward, Backward: backward}}},
		}}}
	}
	got := FastestLayers([]*Layers{layers(2, 5, 1), layers(3, 4, 2)})
	if d := cmp.Diff(layers(2, 4, 1), got); d != "" {
		t.Error(d)
	}
	machine := func(overlap, latency, bandwidth float64, seconds ...float64) *cluster.Cluster {
		c := &cluster.Cluster{Overlap: overlap, Links: []cluster.Link{{Latency: latency, Bandwidth: bandwidth, Measured: []cluster.Collective{{Kind: kindSend}}}}}
		for i, s := range seconds {
			c.Links[0].Measured[0].Points = append(c.Links[0].Measured[0].Points, cluster.Point{Bytes: int64(1 + i), Seconds: s})
		}
		return c
	}
	all := []*cluster.Cluster{machine(1, 2, 10, 5, 8), machine(2, 1, 30, 6), machine(1.5, 3, 20, 4, 9)}
	if d := cmp.Diff(machine(1.5, 1, 20, 4), FastestCluster(all)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(machine(1, 2, 10, 5, 8), all[0]); d != "" {
		t.Errorf("what was measured has changed: %s", d)
	}
}

func TestLess(t *testing.T) {
	if got := (figure{3, 0.1}).less(1); got.Seconds != 2 || got.Spread < 0.1499 || got.Spread > 0.1501 {
		t.Errorf("%+v", got)
	}
	if got := (figure{1, 0.1}).less(2); got.Seconds != leastSeconds {
		t.Errorf("%+v", got)
	}
}
