package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// writeComm prints one collective: a row for each size, with the median times of
// all sides and the ratios to the peers.
func writeComm(w io.Writer, op string, ranks int, results []Result) error {
	var planes []string
	for _, r := range results {
		if !slices.Contains(planes, r.Exchange.Plane) {
			planes = append(planes, r.Exchange.Plane)
		}
	}
	peers := peersIn(results)
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d ranks, fp32: microseconds of the median call, bus GB/s, times as fast as the peers\n", op, ranks)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := "tensor\t"
	for _, p := range slices.Concat(planes, peers) {
		head += p + "\t"
	}
	for _, p := range planes {
		head += p + " GB/s\t"
	}
	for _, p := range planes {
		for _, q := range peers {
			head += p + "/" + q + "\t"
		}
	}
	fmt.Fprintln(t, head)
	for rest := results; len(rest) > 0; rest = rest[len(planes):] {
		fmt.Fprintln(t, commRow(rest[:len(planes)], peers))
	}
	t.Flush() // writes to memory: cannot fail
	fmt.Fprintln(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// commRow is one size, the results of all planes.
func commRow(results []Result, peers []string) string {
	row := sizeName(results[0].Exchange.Bytes) + "\t"
	for _, r := range results {
		row += micros(r.Exchange.Seconds)
	}
	for _, p := range peers {
		row += micros(results[0].Exchange.Theirs[p])
	}
	for _, r := range results {
		row += fmt.Sprintf("%.2f\t", r.Value)
	}
	for _, r := range results {
		for _, p := range peers {
			if ratio, ok := r.Peers[p]; ok {
				row += fmt.Sprintf("%.2f\t", ratio)
			} else {
				row += "-\t"
			}
		}
	}
	return row
}

func micros(seconds float64) string {
	if seconds == 0 {
		return "-\t"
	}
	return fmt.Sprintf("%.*f\t", max(0, min(1, int(3-seconds*1e5))), 1e6*seconds)
}

// commChart has a group for each collective, number of ranks and size: the speed
// of each side.
func commChart(results []Result, machine string) chart {
	c := chart{Title: "Collectives", Machine: machine, Unit: "bus GB/s; higher is better"}
	for _, r := range results {
		name := fmt.Sprintf("%s, %d ranks, %s", r.Exchange.Op, r.Exchange.Ranks, sizeName(r.Exchange.Bytes))
		i := slices.IndexFunc(c.Groups, func(g barGroup) bool { return g.Name == name })
		if i < 0 {
			i = len(c.Groups)
			c.Groups = append(c.Groups, barGroup{Name: name})
			for _, p := range peersIn([]Result{r}) {
				rate := busBytes(r.Exchange.Op, r.Exchange.Ranks, r.Exchange.Bytes) / r.Exchange.Theirs[p] / 1e9
				c.Groups[i].Bars = append(c.Groups[i].Bars, bar{Label: p, Value: rate, Text: fmt.Sprintf("%.2f", rate)})
			}
		}
		text := fmt.Sprintf("%.2f", r.Value)
		for _, p := range peersIn([]Result{r}) {
			text += fmt.Sprintf(" (%.2f times %s)", r.Peers[p], p)
		}
		c.Groups[i].Bars = append(c.Groups[i].Bars, bar{r.Exchange.Plane, r.Value, text, true})
	}
	for _, g := range c.Groups {
		most := 0.0
		for _, b := range g.Bars {
			most = max(most, b.Value)
		}
		for i := range g.Bars {
			g.Bars[i].Value /= most
		}
	}
	return c
}
