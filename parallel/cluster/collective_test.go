package cluster

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestCollectiveTime(t *testing.T) {
	m := &machine().Links[0].Measured[0]
	for bytes, want := range map[int64]float64{
		1: 1e-3, 1 << 10: 1e-3, 1 << 20: 4e-3, 1 << 24: 64e-3,
		1 << 15: 2e-3,     // half way in logarithms from 1 to 4 ms
		1 << 22: 16e-3,    // the second line has slope 1
		1 << 30: 4096e-3,  // and goes on
		1 << 34: 65536e-3, // and on
	} {
		if got := m.Time(bytes); !near(got, want) {
			t.Errorf("%d bytes: %v, want %v", bytes, got, want)
		}
	}
	one := &Collective{Points: []Point{{1 << 20, 1e-3, 0}}}
	if one.Time(1<<10) != 1e-3 || one.Time(1<<22) != 4e-3 {
		t.Error("one point")
	}
	noisy := &Collective{Points: []Point{{1 << 20, 2e-3, 0}, {1 << 21, 1e-3, 0}}}
	if got := noisy.Time(1 << 40); got != 1e-3 {
		t.Errorf("noise goes on: %v", got)
	}
}

// Tables rule where they have the kind and the ranks, with the nearest stride.
func TestMeasured(t *testing.T) {
	c := twoByEight(SharedHost)
	point := func(seconds float64) []Point { return []Point{{1 << 20, seconds, 0}} }
	c.Links[1].Measured = []Collective{
		{"all_reduce", Group{2, 8}, point(2)}, {"all_reduce", Group{4, 4}, point(4)}, {"all_reduce", Group{4, 1}, point(5)},
		{"send", Group{2, 8}, point(6)},
	}
	for _, x := range []struct {
		e    Exchange
		want float64
	}{
		{Exchange{"all_reduce", 1 << 20, Group{2, 8}}, 2},
		{Exchange{"all_reduce", 1 << 20, Group{4, 4}}, 4},
		{Exchange{"send", 1 << 20, Group{2, 8}}, 6},
		// Not on the near link, which has no tables.
		{Exchange{"all_reduce", 1 << 20, Group{4, 1}}, 6e-6 + 1.5*(1<<20)/100e9},
		// No such kind, no such ranks.
		{Exchange{"all_gather", 1 << 20, Group{2, 8}}, 10e-6 + 0.5*(1<<20)/1.25e9},
		{Exchange{"all_reduce", 1 << 20, Group{16, 1}}, 300e-6 + 1.875*(1<<20)/10e9},
	} {
		if got := c.Time(x.e); !near(got, x.want) {
			t.Errorf("%+v: %v, want %v", x.e, got, x.want)
		}
	}
	c.Links[1].Measured = c.Links[1].Measured[1:3]
	c.Links[0].Span, c.PerHost, c.Hosts, c.Links[1].Span = 2, 2, 4, 8
	if got := c.Time(Exchange{"all_reduce", 1 << 20, Group{4, 2}}); got != 5 && got != 4 {
		t.Errorf("nearest stride: %v", got)
	}
}

// A flow's parts make up the measured time; its latency is the smallest point's.
func TestMeasuredFlow(t *testing.T) {
	c := machine()
	rapid.Check(t, func(t *rapid.T) {
		e := Exchange{"all_reduce", rapid.Int64Range(1, 1<<32).Draw(t, "bytes"), Group{4, 1}}
		f, want := c.Flow(e), c.Links[0].Measured[0].Time(e.Bytes)
		if math.Abs(f.Time()-want) > 1e-12*want || f.Latency != 1e-3 || !(f.Rate > 0) || math.IsInf(f.Rate, 0) {
			t.Fatalf("%+v: %+v takes %v, measured %v", e, f, f.Time(), want)
		}
		if e.Bytes > 1<<10 && f.Bytes != 1.5*float64(e.Bytes) || e.Bytes <= 1<<10 && f.Bytes != 0 {
			t.Fatalf("%+v: %+v", e, f)
		}
	})
}
