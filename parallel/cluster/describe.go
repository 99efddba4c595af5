package cluster

import (
	"fmt"
	"io"
	"strings"
)

// String is one line: "a100-16: 2 hosts of 8 devices (A100 80GB, 80 GiB each)".
func (c *Cluster) String() string {
	return fmt.Sprintf("%s: %s of %s (%s, %s each)",
		c.Name, plural(c.Hosts, "host"), plural(c.PerHost, "device"), c.Device.Name, binary(c.Device.Memory))
}

// Describe writes the cluster for people: devices, memory, rates, links, and
// where the figures are from.
func (c *Cluster) Describe(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintln(&b, c)
	d := &c.Device
	fmt.Fprintf(&b, "device   memory at %s, %s an operation", decimal(d.Bandwidth, "B/s"), duration(d.Launch))
	if c.Cores > 0 {
		fmt.Fprintf(&b, ", all of a host on %s", plural(c.Cores, "thread"))
	}
	fmt.Fprintln(&b)
	for _, p := range []string{"fp32", "bf16", ""} {
		if low, high, n := d.span(p); n > 0 {
			fmt.Fprintf(&b, "rate     %s%s\n", rates(low, high), suffix(p))
		}
	}
	for _, l := range c.Links {
		fmt.Fprintf(&b, "link     %s: joins %s, %s each way %s, %s a hop", l.Name, plural(l.Span, "device"), decimal(l.Bandwidth, "B/s"), l.Shared.text(), duration(l.Latency))
		if n := len(l.Measured); n > 0 {
			fmt.Fprintf(&b, ", %s of times", plural(n, "table"))
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "overlap  both run %.3g times slower\n", c.Overlap)
	if p := c.Provenance; p != (Provenance{}) {
		fmt.Fprintf(&b, "measured %s on %s by %s\n", p.Measured, p.On, p.Version)
	}
	if c.Note != "" {
		fmt.Fprintf(&b, "note     %s\n", c.Note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// plural writes a number of things: "2 hosts".
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// text says whose the bandwidth is.
func (s Sharing) text() string {
	switch s {
	case SharedHost:
		return "for each host"
	case SharedAll:
		return "for all together"
	}
	return "for each device"
}

// span is the lowest and highest rate of a precision, and the number of rates.
func (d *Device) span(precision string) (low, high float64, n int) {
	for _, r := range d.Rates {
		if r.Precision != precision {
			continue
		}
		if n == 0 || r.PerSecond < low {
			low = r.PerSecond
		}
		high = max(high, r.PerSecond)
		n++
	}
	return low, high, n
}

func rates(low, high float64) string {
	if low == high {
		return decimal(low, "FLOP/s")
	}
	return decimal(low, "FLOP/s") + " to " + decimal(high, "FLOP/s")
}

func suffix(precision string) string {
	if precision == "" {
		return ""
	}
	return " in " + precision
}

// decimal writes a number with a prefix of a thousand's power: "154 GB/s".
func decimal(x float64, unit string) string {
	prefixes := []string{"", "k", "M", "G", "T", "P", "E"}
	i := 0
	for ; x >= 999.5 && i < len(prefixes)-1; i++ {
		x /= 1000
	}
	return fmt.Sprintf("%.3g %s%s", x, prefixes[i], unit)
}

// binary writes bytes with a prefix of a power of 1024: "80 GiB".
func binary(n int64) string {
	prefixes := []string{"", "Ki", "Mi", "Gi", "Ti", "Pi"}
	x := float64(n)
	i := 0
	for ; x >= 1023.5 && i < len(prefixes)-1; i++ {
		x /= 1024
	}
	return fmt.Sprintf("%.3g %sB", x, prefixes[i])
}

// duration writes seconds: "5 us".
func duration(s float64) string {
	switch {
	case s >= 0.9995:
		return fmt.Sprintf("%.3g s", s)
	case s >= 0.9995e-3:
		return fmt.Sprintf("%.3g ms", s*1e3)
	}
	return fmt.Sprintf("%.3g us", s*1e6)
}
