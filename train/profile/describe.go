package profile

import (
	"github.com/galvani-ml/galvani/parallel/cluster"
)

// describe makes a cluster of what was measured. The worker processes are its
// devices; every message between them goes through the NATS server, which they
// share.
func describe(f *found, k key, memory int64) *cluster.Cluster {
	c := &cluster.Cluster{
		Name: "this machine", Hosts: 1, PerHost: k.Workers, Cores: k.Threads, Overlap: 1,
		Device: cluster.Device{
			Name: k.Processor, Memory: memory / int64(k.Workers),
			Bandwidth: float64(f.Bytes) / f.Bandwidth.Seconds, Launch: f.Launch.Seconds,
		},
	}
	for _, r := range f.Rates {
		c.Device.Rates = append(c.Device.Rates, cluster.Rate{
			Kind: r.Kind, Precision: r.Precision, FLOPs: r.FLOPs, PerSecond: float64(r.FLOPs) / r.Time.Seconds,
		})
	}
	c.Device.Rates = append(c.Device.Rates, otherKinds(c.Device.Rates)...)
	if k.Workers == 1 {
		return c
	}
	c.Overlap = f.Overlap.slowdown()
	link := cluster.Link{Name: string(f.Plane), Span: k.Workers, Shared: cluster.SharedAll}
	for _, s := range f.Exchanges {
		m := cluster.Collective{Kind: s.Kind, Group: cluster.Group{Ranks: s.Layout.Ranks, Stride: s.Layout.Stride}}
		for i, t := range s.Times {
			m.Points = append(m.Points, cluster.Point{Bytes: s.Bytes[i], Seconds: t.Seconds, Spread: t.Spread})
		}
		link.Measured = append(link.Measured, m)
	}
	c.Links = []cluster.Link{link}
	fit(c)
	return c
}

// otherKinds are rates for operations that are not measured: those of linear.
func otherKinds(all []cluster.Rate) (any []cluster.Rate) {
	for _, r := range all {
		if r.Kind == "linear" {
			r.Kind = ""
			any = append(any, r)
		}
	}
	return any
}

// fit gives the link the latency and bandwidth by which the formula of
// [cluster.Cluster.Flow] comes nearest to what was measured: the least squares
// of relative errors. They serve exchanges that are not measured.
func fit(c *cluster.Cluster) {
	link := &c.Links[0]
	formula := *c
	formula.Links = []cluster.Link{{Name: link.Name, Span: link.Span, Shared: link.Shared, Latency: 1, Bandwidth: 1}}
	// Each point says 1 = x L + y / B, with x and y over its seconds.
	var xx, xy, yy, x1, y1 float64
	for _, m := range link.Measured {
		for _, p := range m.Points {
			flow := formula.Flow(cluster.Exchange{Kind: m.Kind, Bytes: p.Bytes, Group: m.Group})
			x, y := flow.Latency/p.Seconds, flow.Bytes/flow.Rate/p.Seconds
			xx, xy, yy, x1, y1 = xx+x*x, xy+x*y, yy+y*y, x1+x, y1+y
		}
	}
	if det := xx*yy - xy*xy; det > 0 {
		link.Latency = max((x1*yy-y1*xy)/det, 0)
		if inverse := (y1*xx - x1*xy) / det; inverse > 0 {
			link.Bandwidth = 1 / inverse
			return
		}
	}
	if y1 > 0 {
		link.Bandwidth = yy / y1 // without any latency
		link.Latency = 0
	}
}
