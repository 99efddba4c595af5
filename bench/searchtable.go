package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// String gives the problem as in "bert-huge-32, 8 devices, 16 GiB".
func (f searchedFor) String() string {
	return fmt.Sprintf("%s, %d devices, %d GiB", f.model, f.devices, f.memory)
}

// searchTable prints tables for people.
type searchTable struct {
	w        io.Writer
	markdown bool
	model    string // of the table before
}

// table prints what was found for a model on one number of devices: a row a
// budget.
func (t *searchTable) table(m searchModel, found []Searched) error {
	if len(found) == 0 {
		return nil
	}
	if t.model != m.Label {
		t.model = m.Label
		if err := t.heading(m); err != nil {
			return err
		}
	}
	rows := [][]string{{plural(found[0].Devices, "device")}}
	memory := 0
	for _, f := range found {
		if f.MemoryGiB != memory {
			memory = f.MemoryGiB
			rows = append(rows, []string{fmt.Sprintf("%d GiB", memory)})
		}
		row := &rows[len(rows)-1]
		*row = append(*row, samples(f.Value))
		if len(rows) == 2 {
			rows[0] = append(rows[0], titleOf(f.Method))
		}
	}
	return t.rows(rows)
}

// heading names a model.
func (t *searchTable) heading(m searchModel) error {
	format := "%s: %s; %s, samples/s\n\n"
	if t.markdown {
		format = "\n## %s\n\n%s; %s. Samples/s.\n\n"
	}
	_, err := fmt.Fprintf(t.w, format, m.Label, m.Note, m.steps())
	return err
}

// steps tells the batches.
func (m *searchModel) steps() string {
	var words []string
	for _, n := range m.Each {
		words = append(words, fmt.Sprint(n))
	}
	return "batches of " + strings.Join(words, " and ") + " samples a device"
}

// samples prints a throughput in four digits, or a dash for none.
func samples(x float64) string {
	switch {
	case x == 0:
		return "-"
	case x >= 1000:
		return fmt.Sprintf("%.0f", x)
	}
	digits := 1
	for y := x; y < 100 && digits < 5; y *= 10 {
		digits++
	}
	return fmt.Sprintf("%.*f", digits, x)
}

// titleOf is the column of a method.
func titleOf(method string) string {
	for _, m := range searchMethods {
		if m.Label == method {
			return m.Title
		}
	}
	return method
}

// rows prints a table whose first row is its head.
func (t *searchTable) rows(rows [][]string) error {
	var b strings.Builder
	if t.markdown {
		for i, row := range rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				fmt.Fprintf(&b, "|---%s|\n", strings.Repeat("|---:", len(row)-1))
			}
		}
	} else {
		aligned := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, row := range rows {
			fmt.Fprintln(aligned, strings.Join(row, "\t")+"\t")
		}
		aligned.Flush() // writes to memory: cannot fail
	}
	_, err := fmt.Fprintln(t.w, b.String())
	return err
}

// summary prints the comparison of the methods.
func (t *searchTable) summary(all []SearchSummary) error {
	if len(all) == 0 {
		return nil
	}
	heading := "Over all\n\n"
	if t.markdown {
		heading = "\n## Over all\n\n"
	}
	if _, err := io.WriteString(t.w, heading); err != nil {
		return err
	}
	for _, s := range all {
		rows := [][]string{{s.Name, "BMW over it", "exact over it", "at most", "problems", "only BMW and exact fit"}}
		for _, u := range s.Over {
			rows = append(rows, []string{titleOf(u.Method), ratio(u.BMW), ratio(u.Exact), ratio(u.Most), fmt.Sprint(u.Cells), fmt.Sprint(u.Missing)})
		}
		if len(s.Over) > 0 {
			if err := t.rows(rows); err != nil {
				return err
			}
		}
		worst := ""
		if s.GapAt != "" {
			worst = fmt.Sprintf("; the largest gap is %.2f%% (%s)", 100*s.Gap, s.GapAt)
		}
		if _, err := fmt.Fprintf(t.w, "%s: BMW is as fast as exact in %d of %s that have a plan%s.\n\n", s.Name, s.Equal, plural(s.Problems, "problem"), worst); err != nil {
			return err
		}
	}
	return nil
}

// ratio prints how many times faster, or a dash for unknown.
func ratio(x float64) string { return figure("%.3f", x) }
