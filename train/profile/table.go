package profile

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/galvani-ml/galvani/parallel/cluster"
)

// Write prints the result for people.
func (r *Result) Write(w io.Writer) error {
	c := r.Cluster
	var b strings.Builder
	fmt.Fprintf(&b, "machine    %s\n", c.Provenance.On)
	fmt.Fprintf(&b, "devices    %s\n", c.Note)
	fmt.Fprintf(&b, "memory     %s each, %.1f GB/s each\n", humanize.IBytes(uint64(c.Device.Memory)), c.Device.Bandwidth/1e9)
	fmt.Fprintf(&b, "operation  %s at least\n\n", seconds(c.Device.Launch))
	writeRates(&b, &c.Device)
	for i := range c.Links {
		writeLink(&b, &c.Links[i])
	}
	if c.Devices() > 1 {
		fmt.Fprintf(&b, "overlap    computation and exchanges each run %.2f times slower while both run\n", c.Overlap)
	}
	if r.Cached {
		fmt.Fprintf(&b, "kept       %s, measured %s; --fresh measures anew\n", r.Path, c.Provenance.Measured)
	} else {
		fmt.Fprintf(&b, "kept       %s\n", r.Path)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeRates prints what a device computes, a line for each operation's size.
func writeRates(b *strings.Builder, d *cluster.Device) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "operation\tprecision\tMFLOP\tGFLOP/s\t")
	for _, r := range d.Rates {
		if r.Kind == "" {
			continue // others are taken to be as fast as linear
		}
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%.1f\t\n", r.Kind, cmp.Or(r.Precision, "any"), float64(r.FLOPs)/1e6, r.PerSecond/1e9)
	}
	t.Flush() // writes to memory: cannot fail
	fmt.Fprintln(b)
}

// writeLink prints what exchanges take, a line for each size.
func writeLink(b *strings.Builder, l *cluster.Link) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "exchange\tranks\tstride\tsize\ttime\tGB/s\tspread\t")
	for _, m := range l.Measured {
		for _, p := range m.Points {
			fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%.3f\t%.0f%%\t\n", m.Kind, m.Group.Ranks, m.Group.Stride, humanize.IBytes(uint64(p.Bytes)),
				seconds(p.Seconds), float64(p.Bytes)/p.Seconds/1e9, 100*p.Spread)
		}
	}
	t.Flush() // writes to memory: cannot fail
	fmt.Fprintf(b, "\nlink       %s: about %s a hop, then %.2f GB/s\n", l.Name, seconds(l.Latency), l.Bandwidth/1e9)
}

// seconds prints a time with a unit, to three digits.
func seconds(s float64) string {
	d := time.Duration(s * 1e9)
	for unit := time.Nanosecond; unit < time.Second; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
	return d.Round(10 * time.Millisecond).String()
}
