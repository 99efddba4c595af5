package cluster

import (
	"math"
	"testing"
)

// "Comm ms/MB (v1): 8: .2153; 4: .2201 (non-consec) .2265 (consec); 2:
// .2716/.2780", over the 2(n-1)/n of the bytes that a device moves. The latency,
// which the code has none of, is small beside 256 MB.
func TestPaperTitan(t *testing.T) {
	c := preset(t, "titan-8")
	for g, ms := range map[Group]float64{{8, 1}: 0.2153, {4, 1}: 0.2265, {4, 2}: 0.2201, {2, 1}: 0.2780, {2, 4}: 0.2716} {
		n := float64(g.Ranks)
		want := 256 * ms * 2 * (n - 1) / n
		if got := 1e3 * c.Time(Exchange{"all_reduce", 256e6, g}); math.Abs(got-want) > 0.005*want {
			t.Errorf("%v: %v ms, want %v", g, got, want)
		}
	}
}

// "BERT-Huge-32 (seq 512) ... hidden 1280 ... 2.292" ms a sample and layer,
// forward: 24*s*h^2 + 4*s^2*h FLOPs.
func TestPaperTitanRate(t *testing.T) {
	const s, h = 512, 1280
	flops := int64(24*s*h*h + 4*s*s*h)
	got := 1e3 * (&titan).Time(Op{"linear", 1, flops, 0}, "fp32")
	if math.Abs(got-2.292) > 0.01*2.292 {
		t.Errorf("a layer takes %v ms, want 2.292", got)
	}
}

// The shipped times themselves.
func TestPaperA100Times(t *testing.T) {
	c := preset(t, "a100-8")
	for _, x := range []struct {
		e  Exchange
		ms float64
	}{
		{Exchange{"all_reduce", 1 << 20, Group{8, 1}}, 0.07895},
		{Exchange{"all_reduce", 1 << 30, Group{8, 1}}, 8.1409},
		{Exchange{"all_reduce", 64 << 20, Group{4, 1}}, 0.5848},
		{Exchange{"all_reduce", 64 << 20, Group{4, 2}}, 0.5848}, // no other stride was shipped
		{Exchange{"all_reduce", 256 << 20, Group{2, 1}}, 1.3887},
		{Exchange{"all_gather", 64 << 20, Group{8, 1}}, 0.6519 / 2},
		{Exchange{"all_to_all", 64 << 20, Group{8, 1}}, 0.3997},
		{Exchange{"all_to_all", 1 << 30, Group{4, 1}}, 4.0389},
	} {
		if got := 1e3 * c.Time(x.e); math.Abs(got-x.ms) > 1e-9 {
			t.Errorf("%+v: %v ms, want %v", x.e, got, x.ms)
		}
	}
}

// "all-reduce ... 16 (2 nodes): 44.7, 8 non-consec 20.8, 4: 16.2, 2: 8.13": of
// groups that leave a host, 1, 2, 4 and 8 go at once and share its way out. With
// what 8 of them have in all the formula alone gives the groups of 2 and of 4
// within 1 %, and those of 8 and of 16, which the measurement found slower, within
// 60 %.
func TestPaperContention(t *testing.T) {
	c := preset(t, "a100-16")
	c.Links[1].Measured, c.Links[1].Latency = nil, 0
	c.Links[0].Measured, c.Links[0].Latency = nil, 0
	for _, x := range []struct {
		g    Group
		want float64 // bus bandwidth
		off  float64
	}{
		{Group{2, 8}, 8.13e9, 0.01}, {Group{4, 4}, 16.2e9, 0.01}, {Group{8, 2}, 20.8e9, 0.6}, {Group{16, 1}, 44.7e9, 0.6},
	} {
		f := c.Flow(Exchange{"all_reduce", 1 << 30, x.g})
		got := f.Bytes / f.Time()
		t.Logf("%v: %.1f GB/s, measured %.1f", x.g, got/1e9, x.want/1e9)
		if math.Abs(got-x.want) > x.off*x.want {
			t.Errorf("%v: %v, measured %v", x.g, got, x.want)
		}
	}
}

// "4 hosts 1 Gb/s, ring: TCP 0.119, NATS with one server on host 0 0.039-0.040 =
// exactly 1/3: 3 of the 4 ring hops cross host 0's link in each direction." The
// model has all 4 hops go through the one link: it is below what was measured by
// a quarter at most.
func TestMeasuredStar(t *testing.T) {
	c := machine()
	c.Hosts, c.PerHost = 4, 1
	c.Links = []Link{{Name: "nats", Span: 4, Bandwidth: 0.119e9, Shared: SharedAll}}
	f := c.Flow(Exchange{"all_reduce", 16 << 20, Group{4, 1}})
	if got := f.Bytes / f.Time(); got > 0.040e9 || got < 0.75*0.039e9 {
		t.Errorf("bus bandwidth %v, measured 0.039e9", got)
	}
	c.Links[0].Shared = SharedDevice
	f = c.Flow(Exchange{"all_reduce", 16 << 20, Group{4, 1}})
	if got := f.Bytes / f.Time(); !near(got, 0.119e9) {
		t.Errorf("bus bandwidth %v, measured 0.119e9", got)
	}
}

// "1 ms + 1 Gb/s: all-reduce 4 MB 35.3 ms, model 2*(1 ms + 2 MB/0.125 GB/s)".
func TestMeasuredDelay(t *testing.T) {
	c := machine()
	c.Hosts, c.PerHost = 2, 1
	c.Links = []Link{{Name: "tcp", Span: 2, Latency: 1e-3, Bandwidth: 0.125e9, Shared: SharedDevice}}
	if got := c.Time(Exchange{"all_reduce", 4 << 20, Group{2, 1}}); math.Abs(got-35.3e-3) > 0.02*35.3e-3 {
		t.Errorf("%v s, measured 35.3 ms", got)
	}
}
