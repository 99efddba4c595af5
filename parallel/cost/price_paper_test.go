package cost

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel/cluster"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }

// ring is 8 devices that compute 1 FLOP a second and move 1 byte a second.
func ring(k float64) *Machine {
	return &Machine{Precision: "fp32", Cluster: &cluster.Cluster{
		Name: "ring", Hosts: 1, PerHost: 8, Overlap: k,
		Device: cluster.Device{Bandwidth: math.Inf(1), Rates: []cluster.Rate{{PerSecond: 1}}},
		Links:  []cluster.Link{{Name: "ring", Span: 8, Bandwidth: 1, Shared: cluster.SharedDevice}},
	}}
}

// layer has so many FLOPs forward, twice as many backward, and exchanges.
func layer(flops int64, exchanges ...Exchange) *Work {
	return &Work{Exchanges: exchanges, Ops: []Op{
		{Kind: "linear", Count: 1, FLOPs: flops}, {Kind: "linear_input_grad", Pass: graph.Backward, Count: 1, FLOPs: 2 * flops},
	}}
}

// exchange is of 8 ranks.
func exchange(kind string, bytes int64, pass graph.Pass, once, beside bool) Exchange {
	return Exchange{
		Exchange: cluster.Exchange{Kind: kind, Bytes: bytes, Group: cluster.Group{Ranks: 8, Stride: 1}},
		Pass:     pass, Count: 1, Once: once, Beside: beside,
	}
}

// "overlapped with the backward by the slowdown rule: with A = M*dc*k and R =
// Bk*k: if A > R: cost = R + (M - R/(dc*k))*dc, else cost = A + (Bk - A/k). I.e.
// both run k times slower while overlapped, the rest runs alone." The same number
// as cluster.Overlapped, which says it shorter.
func TestPaperSlowdown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, dc := rapid.Float64Range(0.1, 9).Draw(t, "M"), rapid.Float64Range(0.1, 9).Draw(t, "dc")
		bk, k := rapid.Float64Range(0.1, 90).Draw(t, "Bk"), rapid.Float64Range(1, 2).Draw(t, "k")
		a, r := m*dc*k, bk*k
		want := a + (bk - a/k)
		if a > r {
			want = r + (m-r/(dc*k))*dc
		}
		if got := cluster.Overlapped(bk, m*dc, k); !near(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// "Slowdown k ... floored at 1".
func TestPaperSlowdownFloor(t *testing.T) {
	if got := cluster.Overlapped(3, 2, 0.5); got != 3 {
		t.Errorf("%v s for 3 s of computation and 2 beside it", got)
	}
}

// "Charged on the LAST micro-batch only ("with sync"); others use M = 0 ("no
// sync")": a reduction once a step is no part of a micro-batch's time.
func TestPaperLastMicroBatch(t *testing.T) {
	for _, k := range []float64{1, 1.3} {
		for _, bytes := range []int64{10, 1000} {
			m := ring(k)
			w := layer(100, exchange("all_reduce", bytes, graph.Backward, true, true))
			p := m.Price(w)
			reduce := 2 * 7. / 8 * float64(bytes) // 2(D-1)/D * M
			if got := p.Time(); got != 300 {
				t.Errorf("a micro-batch takes %v s, want 300", got)
			}
			if got, want := p.Sync(), cluster.Overlapped(200, reduce, k)-200; !near(got, want) {
				t.Errorf("%d bytes, k=%v: the last takes %v s more, want %v", bytes, k, got, want)
			}
		}
	}
}

// "Never overlapped": a micro-batch waits for all that tensor parallelism and
// Ulysses exchange.
func TestPaperNeverOverlapped(t *testing.T) {
	for _, kind := range []string{"all_reduce", "all_to_all", "all_gather", "reduce_scatter"} {
		m := ring(1.3)
		e := exchange(kind, 80, graph.Forward, false, false)
		p := m.Price(layer(100, e))
		if got, want := p.Time(), 300+m.Cluster.Time(e.Exchange); !near(got, want) {
			t.Errorf("%s: %v s, want %v", kind, got, want)
		}
		if p.Sync() != 0 {
			t.Errorf("%s: %v s once a step", kind, p.Sync())
		}
	}
}

// "(c) ZeRO-3 charges one all-gather, not two per micro-batch": here both are in
// the time of every micro-batch, each beside the pass that it is for, and so is the
// scatter of gradients.
func TestPaperZeRO3(t *testing.T) {
	gather := exchange("all_gather", 400, graph.Forward, false, true)
	again := exchange("all_gather", 400, graph.Backward, false, true)
	scatter := exchange("reduce_scatter", 400, graph.Backward, false, true)
	one := 7. / 8 * 400
	for _, k := range []float64{1, 1.3, 2} {
		p := ring(k).Price(layer(100, gather, again, scatter))
		if got, want := p.Time(), cluster.Overlapped(100, one, k)+cluster.Overlapped(200, 2*one, k); !near(got, want) {
			t.Errorf("k=%v: %v s, want %v", k, got, want)
		}
		if p.Sync() != 0 {
			t.Errorf("k=%v: %v s once a step", k, p.Sync())
		}
		once := ring(k).Price(layer(100, gather, scatter))
		if p.Time() <= once.Time() {
			t.Errorf("k=%v: two gathers take %v s, one %v", k, p.Time(), once.Time())
		}
	}
}

// "Bk = 2F; + F when checkpointed": what is computed again is part of the backward
// pass, and reductions go on beside it too.
func TestPaperRecomputation(t *testing.T) {
	w := layer(100, exchange("all_reduce", 1000, graph.Backward, true, true))
	w.Ops = append(w.Ops, Op{Kind: "linear", Pass: graph.Backward, Again: true, Count: 1, FLOPs: 100})
	p := ring(1).Price(w)
	if p.Time() != 400 || p.Sync() != 1750-300 {
		t.Errorf("%v s and %v once a step", p.Time(), p.Sync())
	}
	// as measured, where F is part of the backward pass
	w.Measured = &Seconds{Forward: 10, Backward: 33}
	if p := ring(1).Price(w); p.Time() != 43 || p.Again != 10 || p.Backward != 23 {
		t.Errorf("measured: %+v", p)
	}
}

// "Slowdown k: v1 uses 1.3/1.3 ... shipped A100 file 1.1256": the presets' own.
func TestPaperSlowdownOfPresets(t *testing.T) {
	for name, want := range map[string]float64{"titan-8": 1.3, "a100-8": 1.1256, "a100-64": 1.1256} {
		c, err := cluster.Preset(name)
		if err != nil || c.Overlap != want {
			t.Errorf("%s: %v, %v, want %v", name, c, err, want)
		}
	}
}

// "Comm ms/MB (v1): 8: .2153; 4: .2201 (non-consec) .2265 (consec); 2:
// .2716/.2780": what a device moves in an all-reduce takes that long on titan-8,
// latencies apart. A MB is 10^6 bytes here.
func TestPaperTitanBandwidth(t *testing.T) {
	c, err := cluster.Preset("titan-8")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		group cluster.Group
		ms    float64
	}{
		{cluster.Group{Ranks: 8, Stride: 1}, 0.2153}, {cluster.Group{Ranks: 4, Stride: 2}, 0.2201}, {cluster.Group{Ranks: 4, Stride: 1}, 0.2265},
		{cluster.Group{Ranks: 2, Stride: 4}, 0.2716}, {cluster.Group{Ranks: 2, Stride: 1}, 0.2780},
	} {
		const mb = 256
		n := float64(x.group.Ranks)
		got := c.Time(cluster.Exchange{Kind: "all_reduce", Bytes: mb * 1e6, Group: x.group})
		want := 2 * (n - 1) / n * mb * x.ms / 1000
		if latency := 2 * (n - 1) * 10e-6; math.Abs(got-want-latency) > 1e-3*want {
			t.Errorf("%+v: %v s for %d MB, want %v and latencies", x.group, got, mb, want)
		}
	}
}
