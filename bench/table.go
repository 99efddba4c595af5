package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
)

// writeTraining prints a result of the suite train for people.
func writeTraining(w io.Writer, r Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s of %s, threads: %d\n", r.Name, plural(r.Rounds, "round"), plural(r.Steps, "step"), r.Threads)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\ttokens/s\tGFLOP/s\tof peak\tms a step\tmin\tmax\tallocated a step\tpeak memory\tloss\t")
	writeSide(t, ours, r.Side, r.Peak)
	peers := slices.Sorted(maps.Keys(r.Theirs))
	for _, peer := range peers {
		writeSide(t, peer, r.Theirs[peer], r.Peak)
	}
	t.Flush() // writes to memory: cannot fail
	if r.PlannedBytes > 0 && r.MemoryBytes > 0 {
		fmt.Fprintf(&b, "%s planned %s of memory and took %.3f times that\n", ours, humanize.IBytes(uint64(r.PlannedBytes)), float64(r.MemoryBytes)/float64(r.PlannedBytes))
	}
	for _, peer := range peers {
		fmt.Fprintf(&b, "%s is %.2f times as fast as %s (rounds: %.2f to %.2f)", ours, r.Peers[peer], peer, r.PeersMin[peer], r.PeersMax[peer])
		if m, ok := r.MemoryOfPeers[peer]; ok {
			fmt.Fprintf(&b, " and takes %.3f of its memory", m)
		}
		fmt.Fprintln(&b)
	}
	for _, peer := range peers {
		if v := r.Theirs[peer].Version; v != "" {
			fmt.Fprintf(&b, "%s: %s\n", peer, v)
		}
	}
	writeProfile(&b, r.Profile)
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// writeSide prints what is known of a side.
func writeSide(w io.Writer, name string, s Side, peak float64) {
	share, alloc, memory, loss := "-", "-", "-", "-"
	if peak > 0 {
		share = fmt.Sprintf("%.1f%%", 100*s.GFLOPs/peak)
	}
	if s.AllocBytes > 0 {
		alloc = humanize.IBytes(uint64(s.AllocBytes))
	}
	if s.MemoryBytes > 0 {
		memory = humanize.IBytes(uint64(s.MemoryBytes))
	}
	if s.Loss != 0 {
		loss = fmt.Sprintf("%.4f", s.Loss)
	}
	fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%s\t%.1f\t%.1f\t%.1f\t%s\t%s\t%s\t\n", name, s.TokensPerSecond, s.GFLOPs, share,
		1e3*s.Seconds, 1e3*s.SecondsMin, 1e3*s.SecondsMax, alloc, memory, loss)
}

// writeProfile prints where the time of a step goes, if that was measured.
func writeProfile(b *strings.Builder, profile []KernelTime) {
	if len(profile) == 0 {
		return
	}
	fmt.Fprintln(b)
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "kernel\tpass\tcalls a step\tms a step\tof step\tGFLOP/s\tof peak\t")
	total := 0.0
	for _, k := range profile {
		total += k.Millis
		rate, share := "-", "-"
		if k.GFLOPs > 0 {
			rate = fmt.Sprintf("%.1f", k.GFLOPs)
		}
		if k.OfPeak > 0 {
			share = fmt.Sprintf("%.1f%%", 100*k.OfPeak)
		}
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%.2f\t%.1f%%\t%s\t%s\t\n", k.Kind, cmp.Or(k.Pass, "-"), k.Count, k.Millis, 100*k.Share, rate, share)
	}
	fmt.Fprintf(t, "step\t-\t-\t%.2f\t100.0%%\t-\t-\t\n", total)
	t.Flush() // writes to memory: cannot fail
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// results returns what writes results one by one: as JSON, or as figures for people.
func results(w io.Writer, asJSON, blas bool) func(Result) error {
	if asJSON {
		lines := json.NewEncoder(w)
		return func(r Result) error { return lines.Encode(r) }
	}
	return figures(w, blas)
}

// figures returns what prints results for people, a line each as they come, with a column
// for the ratio to OpenBLAS if that is measured.
func figures(w io.Writer, blas bool) func(Result) error {
	head := fmt.Sprintf("%-44s %9s %-8s %7s", "", "value", "unit", "of peak")
	if blas {
		head += " of openblas"
	}
	head += "\n"
	summed := false
	return func(r Result) error {
		if r.Products != nil {
			if !summed {
				head = fmt.Sprintf("\nMatrix products beside %s\n%-20s %9s %14s %6s\n", r.Library, "", "products", "geometric mean", "worst")
			}
			summed = true
			_, err := fmt.Fprintf(w, "%s%-20s %9d %14.3f %6.3f %s\n", head, r.Name, r.Count, r.Value, r.Worst, r.WorstName)
			head = ""
			return err
		}
		line := fmt.Sprintf("%-44s %9.1f %-8s %6.1f%%", r.Name, r.Value, r.Unit, 100*r.OfPeak)
		if blas {
			ratio := "-"
			if x, ok := r.Peers[openBLAS]; ok {
				ratio = fmt.Sprintf("%.3f", x)
			}
			line += fmt.Sprintf(" %11s", ratio)
		}
		_, err := fmt.Fprintf(w, "%s%s\n", head, line)
		head = ""
		return err
	}
}
