package bench

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// writePredictions prints the plans of a workload, the fastest first, and the
// summary.
func writePredictions(w io.Writer, all []Prediction, s PredictionSummary) error {
	var b strings.Builder
	all = slices.SortedFunc(slices.Values(all), func(a, b Prediction) int { return cmp.Compare(a.Seconds, b.Seconds) })
	width := 0
	for _, p := range all {
		width = max(width, utf8.RuneCountInString(shortPlan(p.Plan))+2)
	}
	fmt.Fprintf(&b, "%s: %s of %s, threads of all workers together: %d\n", s.Name, plural(s.Rounds, "round"), plural(s.Steps, "step"), s.Threads)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%-*s\tformula\tsimulated\tmeasured\tformula\tsimulated\tsearched\tplanned\tmeasured\t\n", width, "plan")
	fmt.Fprintf(t, "%-*s\tms\tms\tms a step\toff by\toff by\tMiB\tMiB\tMiB\t\n", width, "")
	for _, p := range all {
		plan := shortPlan(p.Plan)
		if p.Chosen {
			plan += " *"
		}
		fmt.Fprintf(t, "%-*s\t%.2f\t%.2f\t%.2f\t%+.1f%%\t%+.1f%%\t%s\t%s\t%s\t\n", width, plan, 1e3*p.Formula, 1e3*p.Simulated, 1e3*p.Seconds,
			100*p.FormulaError, 100*p.SimulatedError, mebibytes(p.SearchBytes), mebibytes(p.PlannedBytes), mebibytes(p.MemoryBytes))
	}
	t.Flush() // writes to memory: cannot fail
	fmt.Fprintf(&b, "%s, *: chosen. Mean error of a step: formula %.1f%%, simulator %.1f%%; the median round is %.1f%% slower than the fastest, which is what counts. Mean error of memory: search %.1f%% of the compiled plan, compiled plan %.1f%% of measured.\n",
		plural(s.Plans, "plan"), 100*s.FormulaError, 100*s.SimulatedError, 100*s.Drift, 100*s.SearchedMemory, 100*s.PlannedMemory)
	for _, r := range s.Regrets {
		if r.Chosen == "" {
			fmt.Fprintf(&b, "within %s: none was chosen: %s\n", humanize.IBytes(uint64(r.BudgetBytes)), r.Reason)
			continue
		}
		fmt.Fprintf(&b, "within %s: chosen %s, %.2f ms; best measured %s, %.2f ms: regret %.1f%%\n",
			humanize.IBytes(uint64(r.BudgetBytes)), shortPlan(r.Chosen), 1e3*r.Seconds, shortPlan(r.Best), 1e3*r.Fastest, 100*r.Regret)
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// mebibytes prints bytes, or a dash for none.
func mebibytes(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(n)/(1<<20))
}

// usualParts are the parts of a plan's text that say nothing.
var usualParts = []string{"pp=1", "dp=1", "tp=1", "zero=0", "ckpt=none", "micro=1"}

// shortPlan leaves out of a plan's text what is usual.
func shortPlan(text string) string {
	layered := strings.Contains(text, "layers=")
	staged := !strings.Contains(text, "pp=1 ")
	var kept []string
	for _, word := range strings.Fields(text) {
		name, _, _ := strings.Cut(word, "=")
		switch {
		case slices.Contains(usualParts, word), name == "schedule" && !staged:
		case layered && slices.Contains([]string{"dp", "tp", "zero", "ckpt"}, name):
		default:
			kept = append(kept, word)
		}
	}
	if len(kept) == 0 {
		return onePlan
	}
	return strings.Join(kept, " ")
}
