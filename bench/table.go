package bench

import (
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
	fmt.Fprintln(t, "\ttokens/s\tGFLOP/s\tms a step\tmin\tmax\tallocated a step\tpeak memory\tloss\t")
	writeSide(t, ours, r.Side)
	for _, peer := range slices.Sorted(maps.Keys(r.Theirs)) {
		writeSide(t, peer, r.Theirs[peer])
	}
	t.Flush() // writes to memory: cannot fail
	for _, peer := range slices.Sorted(maps.Keys(r.Theirs)) {
		fmt.Fprintf(&b, "%s is %.2f times as fast as %s (rounds: %.2f to %.2f)", ours, r.Peers[peer], peer, r.PeersMin[peer], r.PeersMax[peer])
		if m, ok := r.MemoryOfPeers[peer]; ok {
			fmt.Fprintf(&b, " and takes %.3f of its memory", m)
		}
		fmt.Fprintln(&b)
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

func writeSide(w io.Writer, name string, s Side) {
	memory := "unknown"
	if s.MemoryBytes > 0 {
		memory = humanize.IBytes(uint64(s.MemoryBytes))
	}
	fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.1f\t%.1f\t%.1f\t%s\t%s\t%.4f\t\n", name, s.TokensPerSecond, s.GFLOPs,
		1e3*s.Seconds, 1e3*s.SecondsMin, 1e3*s.SecondsMax, humanize.IBytes(uint64(s.AllocBytes)), memory, s.Loss)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// figures returns what prints results for people, a line each as they come.
func figures(w io.Writer) func(Result) error {
	head := fmt.Sprintf("%-44s %9s %-8s %7s\n", "", "value", "unit", "of peak")
	return func(r Result) error {
		_, err := fmt.Fprintf(w, "%s%-44s %9.1f %-8s %6.1f%%\n", head, r.Name, r.Value, r.Unit, 100*r.OfPeak)
		head = ""
		return err
	}
}
