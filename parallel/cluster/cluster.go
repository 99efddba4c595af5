package cluster

import "fmt"

// Cluster is a number of like hosts with like devices. Devices, which are the
// ranks, are numbered host by host.
type Cluster struct {
	Name    string `json:"name"`
	Note    string `json:"note,omitempty"` // where the figures are from, and which of them are assumed
	Hosts   int    `json:"hosts"`
	PerHost int    `json:"per_host"` // devices of a host
	// Cores is the number of threads of a host that its devices share, as
	// workers on a CPU do; 0 where each device computes for itself.
	Cores  int    `json:"cores,omitempty"`
	Device Device `json:"device"`
	Links  []Link `json:"links,omitempty"` // nearest first; the last joins everything; none for one device
	// Overlap is at least 1: computation and communication each run that many
	// times slower while both run. See [Overlapped].
	Overlap    float64    `json:"overlap"`
	Provenance Provenance `json:"provenance,omitzero"`
}

// Provenance tells where measured figures come from. It is empty for a cluster
// that was written down.
type Provenance struct {
	Measured string `json:"measured,omitempty"` // date and time, RFC 3339
	On       string `json:"on,omitempty"`       // machine, as the model of its processor
	Version  string `json:"version,omitempty"`  // program and version
}

// Devices is the number of devices, and so of ranks.
func (c *Cluster) Devices() int { return c.Hosts * c.PerHost }

// WithDevices returns the same machines with n devices: n of one host, or more
// or fewer whole hosts. A host whose devices are workers on its cores takes any
// number of them. Links that join nothing are left out, and the last one is made
// to join all hosts there are; measured tables stay as they are.
func (c *Cluster) WithDevices(n int) (*Cluster, error) {
	scaled := *c
	below := n / c.PerHost * c.PerHost
	switch {
	case n == c.Devices():
		return &scaled, nil
	case n < 1 || n > maxDevices:
		return nil, &ValueError{"devices", fmt.Sprint(n), fmt.Sprintf("choose 1 to %d", maxDevices)}
	case n < c.PerHost || c.Hosts == 1 && c.Cores > 0:
		scaled.Hosts, scaled.PerHost = 1, n
	case c.Hosts == 1:
		return nil, &ValueError{"devices", fmt.Sprint(n),
			fmt.Sprintf("%s is one host, and says no link to others: choose 1 to %d, or another cluster", c.Name, c.PerHost)}
	case n%c.PerHost != 0:
		return nil, &ValueError{"devices", fmt.Sprint(n),
			fmt.Sprintf("hosts of %s have %d devices: choose %d or %d", c.Name, c.PerHost, below, below+c.PerHost)}
	default:
		scaled.Hosts = n / c.PerHost
	}
	scaled.Name = fmt.Sprintf("%s with %d devices", c.Name, n)
	scaled.Links = c.linksOf(n)
	return &scaled, scaled.Validate()
}

// linksOf cuts or stretches the links to n devices.
func (c *Cluster) linksOf(n int) []Link {
	var links []Link
	for i, l := range c.Links {
		if joined := len(links) > 0 && links[len(links)-1].Span == n; joined || n == 1 {
			break
		}
		if l.Span > n || i == len(c.Links)-1 {
			l.Span = n
		}
		links = append(links, l)
	}
	return links
}
