package cluster

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12*max(math.Abs(a), math.Abs(b)) }

// twoByEight is 2 hosts of 8 with round figures: 100 GB/s a device within a
// host at 1 us a hop, 10 GB/s a host between them at 10 us.
func twoByEight(shared Sharing) *Cluster {
	return &Cluster{
		Name: "2x8", Hosts: 2, PerHost: 8, Overlap: 1,
		Device: Device{Name: "device", Memory: 1, Bandwidth: 1e12, Rates: []Rate{{PerSecond: 1e12}}},
		Links: []Link{
			{Name: "near", Span: 8, Latency: 1e-6, Bandwidth: 100e9, Shared: SharedDevice},
			{Name: "far", Span: 16, Latency: 10e-6, Bandwidth: 10e9, Shared: shared},
		},
	}
}

// 16 MB through every kind of group, by hand. Within a host a ring has 100 GB/s
// a hop; groups that leave a host share its 10 GB/s.
func TestTimeByHand(t *testing.T) {
	const (
		us = 1e-6
		mb = 1_000_000
	)
	for _, x := range []struct {
		kind          string
		ranks, stride int
		shared        Sharing
		want          float64
	}{
		// 2*7 steps of 1 us; 2*7/8*16 = 28 MB at 100 GB/s: 280 us.
		{"all_reduce", 8, 1, SharedHost, 14*us + 280*us},
		// 2*15 steps of 10 us; 30 MB; one ring leaves each host: 10 GB/s: 3000 us.
		{"all_reduce", 16, 1, SharedHost, 300*us + 3000*us},
		// Two rings of 8, 4 ranks of each in a host, so each crosses once: 5 GB/s for 28 MB.
		{"all_reduce", 8, 2, SharedHost, 140*us + 5600*us},
		// 8 rings of 2: 1.25 GB/s for 16 MB.
		{"all_reduce", 2, 8, SharedHost, 20*us + 12800*us},
		// Each device has its own 10 GB/s.
		{"all_reduce", 2, 8, SharedDevice, 20*us + 1600*us},
		// All messages of the far link go through one: 2 hosts' 8 rings send 16 of 16 MB each.
		{"all_reduce", 2, 8, SharedAll, 20*us + 25600*us},
		// One ring leaves two hosts: 2 messages at a time.
		{"all_reduce", 16, 1, SharedAll, 300*us + 6000*us},
		// Half of an all-reduce.
		{"all_gather", 8, 1, SharedHost, 7*us + 140*us},
		{"reduce_scatter", 16, 1, SharedHost, 150*us + 1500*us},
		{"all_gather", 2, 8, SharedHost, 10*us + 6400*us},
		{"reduce_scatter", 8, 2, SharedHost, 70*us + 2800*us},
		// 7 steps; 7/8*16 = 14 MB.
		{"all_to_all", 8, 1, SharedHost, 7*us + 140*us},
		// 15 steps; each of a host's 8 sends 8/16*16 = 8 MB to the other host: 64 MB at 10 GB/s.
		{"all_to_all", 16, 1, SharedHost, 150*us + 6400*us},
		// Each has its own 10 GB/s for 8 MB.
		{"all_to_all", 16, 1, SharedDevice, 150*us + 800*us},
		// 16 devices' 8 MB at 10 GB/s.
		{"all_to_all", 16, 1, SharedAll, 150*us + 12800*us},
		// 7 steps; 4 of the 8 ranks are across: 8 MB of each of 8 devices.
		{"all_to_all", 8, 2, SharedHost, 70*us + 6400*us},
		// Half of 16 MB, of each of 8.
		{"all_to_all", 2, 8, SharedHost, 10*us + 6400*us},
		{"rotate", 8, 1, SharedHost, 1*us + 160*us},
		{"rotate", 16, 1, SharedHost, 10*us + 1600*us},
		{"rotate", 8, 2, SharedHost, 10*us + 3200*us},
		{"rotate", 2, 8, SharedHost, 10*us + 12800*us},
		// Stages of 1 and of 2 ranks in a host, of 8 across: 8 ranks of a stage share 10 GB/s.
		{"send", 2, 1, SharedHost, 1*us + 160*us},
		{"send", 2, 2, SharedHost, 1*us + 160*us},
		{"send", 2, 8, SharedHost, 10*us + 12800*us},
		{"send", 2, 8, SharedDevice, 10*us + 1600*us},
		{"send", 2, 8, SharedAll, 10*us + 12800*us},
	} {
		e := Exchange{x.kind, 16 * mb, Group{x.ranks, x.stride}}
		if got := twoByEight(x.shared).Time(e); !near(got, x.want) {
			t.Errorf("%+v, shared %s: %v us, want %v", e, x.shared, got/us, x.want/us)
		}
	}
}

// 16 MiB on 2 hosts of 8 A100 by the preset, for every kind and strides 1, 2 and
// 8. Where a time was shipped it rules; a bus bandwidth was shipped for 2(n-1)/n
// of an all-reduce's bytes and for all of a message's, and its latency is assumed
// as the link's. The way out of a host is 8*8.13007 GB/s.
func TestPresetByHand(t *testing.T) {
	const (
		us   = 1e-6
		size = 16 << 20
		out  = 65.04056e9
	)
	for _, x := range []struct {
		kind          string
		ranks, stride int
		want          float64
	}{
		{"all_reduce", 8, 1, 294.1 * us},
		{"all_reduce", 16, 1, 300*us + 1.875*size/44.682e9},
		{"all_reduce", 8, 2, 140*us + 1.75*size/20.7724e9},
		{"all_reduce", 2, 8, 20*us + size/8.13007e9},
		{"all_gather", 8, 1, 147.05 * us},
		{"all_gather", 16, 1, 150*us + 0.9375*size/44.682e9},
		{"all_gather", 8, 2, 70*us + 0.875*size/20.7724e9},
		{"all_gather", 2, 8, 10*us + 0.5*size/8.13007e9},
		{"reduce_scatter", 8, 1, 147.05 * us},
		{"reduce_scatter", 16, 1, 150*us + 0.9375*size/44.682e9},
		{"reduce_scatter", 8, 2, 70*us + 0.875*size/20.7724e9},
		{"reduce_scatter", 2, 8, 10*us + 0.5*size/8.13007e9},
		{"all_to_all", 8, 1, 200.3 * us},
		// 8 devices of a host send half, 4 of 8 parts, or half.
		{"all_to_all", 16, 1, 150*us + 8*0.5*size/out},
		{"all_to_all", 8, 2, 70*us + 8*0.5*size/out},
		{"all_to_all", 2, 8, 10*us + 8*0.5*size/out},
		// 1, 2 and 8 rings leave a host.
		{"rotate", 8, 1, 5*us + size/154.203e9},
		{"rotate", 16, 1, 10*us + size/out},
		{"rotate", 8, 2, 10*us + 2*size/out},
		{"rotate", 2, 8, 10*us + 8*size/out},
		{"send", 2, 1, 5*us + size/109.45e9},
		{"send", 2, 2, 5*us + size/138.581e9},
		{"send", 2, 8, 10*us + size/7.65998e9},
	} {
		e := Exchange{x.kind, size, Group{x.ranks, x.stride}}
		if got := preset(t, "a100-16").Time(e); !near(got, x.want) {
			t.Errorf("%+v: %v us, want %v", e, got/us, x.want/us)
		}
	}
}

// A message between stages of 4 that starts at rank 4 goes to the other host,
// with 3 others; at rank 0 and 8 it stays.
func TestFlowFrom(t *testing.T) {
	c, e := twoByEight(SharedHost), Exchange{"send", 1 << 20, Group{2, 4}}
	for first, want := range map[int]Flow{
		0: {0, 1e-6, 1 << 20, 100e9}, 4: {1, 10e-6, 1 << 20, 2.5e9}, 8: {0, 1e-6, 1 << 20, 100e9},
	} {
		if got := c.FlowFrom(e, first); got != want {
			t.Errorf("from %d: %+v, want %+v", first, got, want)
		}
	}
}

func TestNoFlow(t *testing.T) {
	c := twoByEight(SharedHost)
	for _, e := range []Exchange{{}, {"all_reduce", 0, Group{4, 1}}, {"all_reduce", 8, Group{1, 1}}, {"all_reduce", -8, Group{4, 1}}} {
		if got := c.Time(e); got != 0 {
			t.Errorf("%+v takes %v", e, got)
		}
	}
	if got := c.Time(Exchange{"sum", 8, Group{4, 1}}); !math.IsInf(got, 1) {
		t.Errorf("an unknown kind takes %v", got)
	}
	for _, g := range []Group{{4, 0}, {4, -1}, {math.MaxInt, math.MaxInt}, {1 << 40, 1 << 40}} {
		if got := c.Time(Exchange{"all_to_all", 8, g}); !(got > 0) || math.IsInf(got, 0) {
			t.Errorf("%+v takes %v", g, got)
		}
	}
}

// hops counts, rank by rank, what every device sends in all steps of an
// exchange, and charges each message to the nearest link that joins its two
// ends: the seconds are those of the link with the most to do.
func hops(c *Cluster, e Exchange) float64 {
	g := e.Group
	load := map[string]float64{} // bytes through one share of a link
	rate, latency := map[string]float64{}, 0.0
	send := func(from, to int, bytes float64) {
		for i, l := range c.Links {
			if from/l.Span != to/l.Span {
				continue
			}
			key := fmt.Sprintf("%d device %d", i, from)
			switch l.Shared {
			case SharedHost:
				key = fmt.Sprintf("%d host %d", i, from/c.PerHost)
			case SharedAll:
				key = fmt.Sprint(i)
			}
			load[key] += bytes
			rate[key] = l.Bandwidth
			latency = max(latency, l.Latency*float64(steps(e)))
			return
		}
	}
	ring := float64(e.Bytes)
	switch n := float64(g.Ranks); e.Kind {
	case "all_reduce":
		ring *= 2 * (n - 1) / n
	case "all_gather", "reduce_scatter":
		ring *= (n - 1) / n
	}
	blocks := c.Devices() / (g.Ranks * g.Stride)
	if e.Kind == "send" {
		blocks = 1 // of the first stage
	}
	for block := range blocks {
		for offset := range g.Stride {
			rank := func(i int) int { return block*g.Ranks*g.Stride + offset + i%g.Ranks*g.Stride }
			for i := range g.Ranks {
				switch e.Kind {
				case "all_to_all":
					for j := range g.Ranks {
						if j != i {
							send(rank(i), rank(j), float64(e.Bytes)/float64(g.Ranks))
						}
					}
				case "send":
					if i == 0 {
						send(rank(0), rank(1), ring)
					}
				default:
					send(rank(i), rank(i+1), ring)
				}
			}
		}
	}
	busiest := 0.0
	for key, bytes := range load {
		busiest = max(busiest, bytes/rate[key])
	}
	return latency + busiest
}

// random draws a cluster of up to 64 devices, without tables.
func random(t *rapid.T) *Cluster {
	power := func(name string, high int) int { return 1 << rapid.IntRange(0, high).Draw(t, name) }
	c := &Cluster{
		Name: "random", Hosts: power("hosts", 3), PerHost: power("per host", 3), Overlap: 1,
		Device: Device{Name: "device", Memory: 1, Bandwidth: 1e9, Rates: []Rate{{PerSecond: 1e9}}},
	}
	for span := 2; span <= c.Devices(); span *= 2 {
		if span < c.Devices() && !rapid.Bool().Draw(t, "link") {
			continue
		}
		c.Links = append(c.Links, Link{
			Name: "link", Span: span, Latency: rapid.Float64Range(0, 1e-3).Draw(t, "latency"),
			Bandwidth: rapid.Float64Range(1e6, 1e12).Draw(t, "bandwidth"),
			Shared:    rapid.SampledFrom([]Sharing{SharedDevice, SharedHost, SharedAll}).Draw(t, "shared"),
		})
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

func exchange(t *rapid.T, c *Cluster) Exchange {
	e := Exchange{Kind: rapid.SampledFrom(Kinds()).Draw(t, "kind"), Bytes: rapid.Int64Range(1, 1<<40).Draw(t, "bytes")}
	sizes := []int{}
	for n := 2; n <= c.Devices(); n *= 2 {
		sizes = append(sizes, n)
	}
	e.Group.Ranks = rapid.SampledFrom(sizes).Draw(t, "ranks")
	if e.Kind == "send" {
		e.Group.Ranks = 2
	}
	strides := []int{}
	for s := 1; s*e.Group.Ranks <= c.Devices(); s *= 2 {
		strides = append(strides, s)
	}
	e.Group.Stride = rapid.SampledFrom(strides).Draw(t, "stride")
	return e
}

// The formula against messages counted one by one. Where groups leave a block
// that a link joins, their way out is by a farther link, which the formula does
// not take off the nearer one: it may be above, never below, and only for rings
// that cross three kinds of blocks.
func TestFlowCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := random(t)
		if c.Devices() == 1 {
			return
		}
		e := exchange(t, c)
		got, want := c.Time(e), hops(c, e)
		if got < want*(1-1e-9) {
			t.Fatalf("%+v: %v, counted %v", e, got, want)
		}
		if e.Kind == "all_to_all" || e.Kind == "send" || len(c.Links) == 1 {
			if got > want*(1+1e-9) {
				t.Fatalf("%+v: %v, counted %v", e, got, want)
			}
		}
		if got > 2*want {
			t.Fatalf("%+v: %v, counted %v", e, got, want)
		}
	})
}

// More bytes take longer, and the flow's parts make up the time.
func TestTimeMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := random(t)
		if c.Devices() == 1 {
			return
		}
		e := exchange(t, c)
		f := c.Flow(e)
		if f.Time() != c.Time(e) || f.Link < 0 || f.Link >= len(c.Links) || !(f.Rate > 0) || f.Bytes <= 0 || f.Latency < 0 {
			t.Fatalf("%+v: %+v", e, f)
		}
		more := e
		more.Bytes += rapid.Int64Range(0, 1<<40).Draw(t, "more")
		if c.Time(more) < c.Time(e) {
			t.Fatalf("%+v takes %v, %+v %v", e, c.Time(e), more, c.Time(more))
		}
	})
}
