package cluster

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Bounds of what a cluster may say: far beyond any machine, and near enough for
// sums and products of figures to stay finite.
const (
	maxDevices   = 1 << 20
	maxBytes     = 1 << 50
	maxRate      = 1e24 // FLOP/s, bytes/s
	maxSeconds   = 1e6
	maxEntries   = 1 << 14 // of a list
	maxFileBytes = 16 << 20
)

// Validate says what of the cluster cannot be: a *ValueError with the key, its
// value, and what works.
func (c *Cluster) Validate() error {
	k := &checker{}
	k.whole("hosts", int64(c.Hosts), 1, maxDevices)
	k.whole("per_host", int64(c.PerHost), 1, maxDevices)
	if k.err == nil && c.Hosts > maxDevices/c.PerHost {
		k.fail("hosts", c.Hosts, "with per_host=%d there are more than %d devices", c.PerHost, maxDevices)
	}
	k.whole("cores", int64(c.Cores), 0, maxDevices)
	k.number("overlap", c.Overlap, 1, 100)
	c.Device.check(k)
	c.checkLinks(k)
	return k.err
}

func (d *Device) check(k *checker) {
	k.whole("device.memory", d.Memory, 1, maxBytes)
	k.positive("device.bandwidth", d.Bandwidth, maxRate)
	k.number("device.launch", d.Launch, 0, maxSeconds)
	k.count("device.rates", len(d.Rates), 1)
	for i, r := range d.Rates {
		key := fmt.Sprintf("device.rates[%d].", i)
		k.oneOf(key+"precision", r.Precision, "", "fp32", "bf16")
		k.whole(key+"flops", r.FLOPs, 0, math.MaxInt64)
		k.positive(key+"per_second", r.PerSecond, maxRate)
	}
}

func (c *Cluster) checkLinks(k *checker) {
	if k.err != nil {
		return
	}
	if n := len(c.Links); n == 0 && c.Devices() > 1 {
		k.fail("links", 0, "%d devices need at least one link", c.Devices())
	}
	k.count("links", len(c.Links), 0)
	for i := range c.Links {
		c.checkLink(k, i)
	}
}

func (c *Cluster) checkLink(k *checker, i int) {
	l, key := &c.Links[i], fmt.Sprintf("links[%d].", i)
	k.whole(key+"span", int64(l.Span), 1, int64(c.Devices()))
	k.number(key+"latency", l.Latency, 0, maxSeconds)
	k.positive(key+"bandwidth", l.Bandwidth, maxRate)
	k.oneOf(key+"shared", string(l.Shared), string(SharedDevice), string(SharedHost), string(SharedAll))
	if k.err != nil {
		return
	}
	switch below := c.below(i); {
	case c.PerHost%l.Span != 0 && l.Span%c.PerHost != 0:
		k.fail(key+"span", l.Span, "choose a divisor or a multiple of per_host=%d", c.PerHost)
	case i > 0 && (l.Span <= below || l.Span%below != 0):
		k.fail(key+"span", l.Span, "links go from the nearest on: choose a multiple of links[%d].span=%d", i-1, below)
	case c.Devices()%l.Span != 0:
		k.fail(key+"span", l.Span, "choose a divisor of all %d devices", c.Devices())
	case i == len(c.Links)-1 && l.Span != c.Devices():
		k.fail(key+"span", l.Span, "the last link must join all %d devices", c.Devices())
	}
	k.count(key+"measured", len(l.Measured), 0)
	for j := range l.Measured {
		l.Measured[j].check(k, fmt.Sprintf("%smeasured[%d].", key, j))
	}
}

func (m *Collective) check(k *checker, key string) {
	k.oneOf(key+"kind", m.Kind, Kinds()...)
	k.whole(key+"group.ranks", int64(m.Group.Ranks), 2, maxDevices)
	k.whole(key+"group.stride", int64(m.Group.Stride), 1, maxDevices)
	k.count(key+"points", len(m.Points), 1)
	for i, p := range m.Points {
		key := fmt.Sprintf("%spoints[%d].", key, i)
		k.whole(key+"bytes", p.Bytes, 1, maxBytes)
		if i > 0 && p.Bytes <= m.Points[i-1].Bytes {
			k.fail(key+"bytes", p.Bytes, "points must ascend: choose more than %d", m.Points[i-1].Bytes)
		}
		k.positive(key+"seconds", p.Seconds, maxSeconds)
		k.number(key+"spread", p.Spread, 0, maxSeconds)
	}
}

// checker keeps the first error.
type checker struct{ err error }

func (k *checker) fail(key string, value any, problem string, args ...any) {
	if k.err == nil {
		k.err = &ValueError{key, fmt.Sprint(value), fmt.Sprintf(problem, args...)}
	}
}

func (k *checker) whole(key string, value, low, high int64) {
	if value < low || value > high {
		k.fail(key, value, "choose %d to %d", low, high)
	}
}

func (k *checker) number(key string, value, low, high float64) {
	if !(value >= low && value <= high) {
		k.fail(key, value, "choose %g to %g", low, high)
	}
}

// positive bounds a number from below too, so that what is divided by it stays
// finite.
func (k *checker) positive(key string, value, high float64) {
	if !(value >= 1e-12 && value <= high) {
		k.fail(key, value, "choose a number above 0, to %g", high)
	}
}

func (k *checker) count(key string, n, low int) {
	if n < low || n > maxEntries {
		k.fail(key, fmt.Sprintf("(%d entries)", n), "list %d to %d", low, maxEntries)
	}
}

func (k *checker) oneOf(key, value string, works ...string) {
	if !slices.Contains(works, value) {
		k.fail(key, fmt.Sprintf("%q", value), "choose one of %s", strings.Trim(strings.Join(works, ", "), ", "))
	}
}
