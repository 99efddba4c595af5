package cluster

// Link joins the devices of every block of Span neighbouring ones. Two devices
// use the nearest link that joins both.
type Link struct {
	Name      string  `json:"name"`
	Span      int     `json:"span"`      // devices that it joins: a divisor or a multiple of a host's
	Latency   float64 `json:"latency"`   // seconds a hop
	Bandwidth float64 `json:"bandwidth"` // bytes/s, each way
	Shared    Sharing `json:"shared"`
	// Measured are used instead of the formula where they are there.
	Measured []Collective `json:"measured,omitempty"`
}

// Sharing says who has a link's bandwidth.
type Sharing string

// The ways to share a link.
const (
	SharedDevice Sharing = "device" // each device has its own
	SharedHost   Sharing = "host"   // the devices of a host share one
	SharedAll    Sharing = "all"    // everything goes through one, as the host of a NATS server
)

// below is the number of devices that nearer links join.
func (c *Cluster) below(link int) int {
	if link == 0 {
		return 1
	}
	return c.Links[link-1].Span
}

// edges is the number of ring neighbours whose messages share link's bandwidth,
// where groups have the stride: as many groups as that leave each block that
// nearer links join, each once.
func (c *Cluster) edges(link, stride int) int {
	below := c.below(link)
	leaving := min(stride, below)
	switch c.Links[link].Shared {
	case SharedHost:
		return min(leaving*max(1, c.PerHost/below), c.PerHost)
	case SharedAll:
		return leaving * max(1, c.Devices()/below)
	}
	return 1
}

// devices is the number of devices that share link's bandwidth.
func (c *Cluster) devices(link int) int {
	switch c.Links[link].Shared {
	case SharedHost:
		return c.PerHost
	case SharedAll:
		return c.Devices()
	}
	return 1
}
