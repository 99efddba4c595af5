package bench

import (
	"encoding/json"
	"fmt"
	"io"
)

// planReport returns what prints results of the suite plan one by one: as JSON,
// or as a table for people.
func planReport(w io.Writer, asJSON bool) func(Result) error {
	if asJSON {
		lines := json.NewEncoder(w)
		return func(r Result) error { return lines.Encode(r) }
	}
	head := fmt.Sprintf("%-44s %-8s %10s %10s %9s %7s %7s %9s  %s\n",
		"", "from", "ours, s", "theirs, s", "ratio", "MB", "budget", "search, s", "")
	return func(r Result) error {
		p := r.Planning
		_, err := fmt.Fprintf(w, "%s%-44s %-8s %10s %10s %9s %7s %7s %9s  %s\n", head, p.Case, dash(p.From),
			figure("%.4f", p.OurCost), figure("%.4f", p.TheirCost), figure("%.6f", p.Ratio),
			figure("%.0f", float64(p.MemoryMB)), figure("%.0f", float64(p.BudgetMB)), figure("%.4f", p.Search), p.Status)
		head = ""
		if err != nil || p.Note == "" {
			return err
		}
		_, err = fmt.Fprintf(w, "    %s\n", p.Note)
		return err
	}
}

// figure prints a number, or a dash where there is none.
func figure(format string, x float64) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf(format, x)
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
