package cluster

import "math"

// Exchange is a collective over a group of ranks, or a message between two. All
// groups of its kind, those with the same stride in every block of ranks, make
// it at the same time, as the ranks of a stage do.
type Exchange struct {
	Kind  string `json:"kind"`  // as graph's operations: all_reduce, all_gather, reduce_scatter, all_to_all, rotate, send
	Bytes int64  `json:"bytes"` // of the whole tensor: before a reduction, after a gather
	Group Group  `json:"group"`
}

// Group is a set of ranks that are a stride apart: r, r+Stride, and so on.
// Ranks are numbered through the cluster, host by host. The stages of a pipeline
// that a message goes between are two ranks apart by the ranks of a stage.
type Group struct {
	Ranks  int `json:"ranks"`
	Stride int `json:"stride"`
}

// Kinds are the kinds of exchanges.
func Kinds() []string {
	return []string{"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "rotate", "send"}
}

// block is the number of neighbouring ranks that the group and those beside it
// fill.
func (g Group) block() int {
	if g.Ranks > maxDevices/g.Stride {
		return maxDevices
	}
	return g.Ranks * g.Stride
}

// within is how many of the group's ranks are in a block of span ranks.
func (g Group) within(span int) int { return min(g.Ranks, max(1, span/g.Stride)) }

// Flow is what an exchange moves, and how fast.
type Flow struct {
	Link    int     // the narrowest one that the exchange crosses
	Latency float64 // seconds, of all steps
	Bytes   float64 // that a device moves over the link
	Rate    float64 // bytes/s that it has while all groups alike exchange
}

// Time is the seconds that the flow takes alone.
func (f Flow) Time() float64 { return f.Latency + f.Bytes/f.Rate }

// Time is the seconds that an exchange takes: see [Cluster.Flow].
func (c *Cluster) Time(e Exchange) float64 { return c.Flow(e).Time() }

// Flow is the flow of an exchange, by the alpha-beta model (Hockney, The
// communication challenge for MPP, 1994): a step costs a link's latency, and its
// bytes over its bandwidth. With B bytes and n ranks (Thakur, Rabenseifner,
// Gropp, Optimization of Collective Communication Operations in MPICH, 2005):
//
//	all_reduce                    2(n-1) steps, 2(n-1)/n*B bytes round a ring
//	all_gather, reduce_scatter    n-1 steps, (n-1)/n*B bytes round a ring
//	all_to_all                    n-1 steps, B/n bytes to each other rank
//	rotate, send                  1 step, B bytes
//
// A ring crosses each link between its neighbours, and leaves each block that a
// nearer link joins once; the narrowest link rules. Where devices share a link
// its bandwidth is divided among all that send over it at the same time: the
// rings that leave a host, or the devices that send to others (all-to-all,
// send).
//
// If the nearest link that joins the whole group has measured times of the kind
// and number of ranks, they rule instead: the latency is then the time of the
// smallest one, and bytes that it moves within that time do not count.
//
// A group of one rank, or no bytes, takes no time; a kind that is none of the
// above never ends, so its time is infinite.
func (c *Cluster) Flow(e Exchange) Flow { return c.FlowFrom(e, 0) }

// FlowFrom is Flow for a message whose first sender is the given rank, that is
// the first rank of the sending stage: it decides which link the message
// crosses. In Flow it is 0, so that two stages that fit a host are taken to be in
// one. Other kinds are the same from every rank.
func (c *Cluster) FlowFrom(e Exchange, first int) Flow {
	e.Group.Stride = max(1, e.Group.Stride)
	if e.Group.Ranks < 2 || e.Bytes <= 0 || len(c.Links) == 0 {
		return Flow{Rate: c.Device.Bandwidth}
	}
	hops := steps(e)
	if hops == 0 {
		return Flow{Latency: math.Inf(1), Rate: c.Device.Bandwidth}
	}
	joint := c.joint(e, first)
	var f Flow
	for i := range c.Links[:joint+1] {
		bytes, senders := c.traffic(e, i, joint)
		if senders == 0 {
			continue
		}
		f.Latency = max(f.Latency, float64(hops)*c.Links[i].Latency)
		if rate := c.Links[i].Bandwidth / float64(senders); f.Rate == 0 || bytes/rate > f.Bytes/f.Rate {
			f.Link, f.Bytes, f.Rate = i, bytes, rate
		}
	}
	if table := c.Links[joint].table(e); table != nil {
		f.Link = joint
		return table.flow(e.Bytes, f)
	}
	return f
}

// steps is the number of messages that a rank sends one after another; 0 for an
// unknown kind.
func steps(e Exchange) int {
	switch e.Kind {
	case "all_reduce":
		return 2 * (e.Group.Ranks - 1)
	case "all_gather", "reduce_scatter", "all_to_all":
		return e.Group.Ranks - 1
	case "rotate", "send":
		return 1
	}
	return 0
}

// joint is the nearest link that joins all ranks of every group.
func (c *Cluster) joint(e Exchange, first int) int {
	block := e.Group.block()
	for i, l := range c.Links[:len(c.Links)-1] {
		if e.Kind == "send" {
			if first/l.Span == (first+block-1)/l.Span {
				return i
			}
		} else if l.Span%block == 0 {
			return i
		}
	}
	return len(c.Links) - 1
}

// traffic is what a device sends over a link, and how many devices share its
// bandwidth; none where the exchange does not use it.
func (c *Cluster) traffic(e Exchange, link, joint int) (bytes float64, senders int) {
	g, all := e.Group, float64(e.Bytes)
	n := float64(g.Ranks)
	switch e.Kind {
	case "send":
		if link != joint {
			return 0, 0
		}
		return all, min(g.Stride, c.devices(link))
	case "all_to_all":
		far := g.Ranks
		if link != joint {
			far = g.within(c.Links[link].Span)
		}
		peers := far - g.within(c.below(link))
		if peers == 0 {
			return 0, 0
		}
		return float64(peers) / n * all, c.devices(link)
	}
	if link != joint && g.Stride >= c.Links[link].Span {
		return 0, 0
	}
	switch e.Kind {
	case "all_reduce":
		all *= 2 * (n - 1) / n
	case "all_gather", "reduce_scatter":
		all *= (n - 1) / n
	}
	return all, c.edges(link, g.Stride)
}
