package planner

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"github.com/galvani-ml/galvani/parallel"
)

// Report is an evaluation in the form that people and programs read.
type Report struct {
	Plan       *parallel.Plan `json:"plan"`
	Text       string         `json:"text"`
	Batch      int            `json:"batch"`
	Step       float64        `json:"step_seconds"`
	Throughput float64        `json:"sequences_per_second"`
	Split      Split          `json:"split_seconds"` // of the slowest stage
	Runs       []Run          `json:"layers"`
	Stages     []StageReport  `json:"stages"`
	Others     []OtherReport  `json:"other_cells,omitempty"`
	Cells      int            `json:"cells,omitempty"`
	Skipped    int            `json:"cells_ruled_out,omitempty"`
}

// Run is a run of layers that are alike, with what one of them takes.
type Run struct {
	First     int                `json:"first"`
	Last      int                `json:"last"`
	Name      string             `json:"name"`
	Stage     int                `json:"stage"`
	Strategy  parallel.Strategy  `json:"strategy"`
	Forward   float64            `json:"forward_seconds"` // computation of a micro-batch
	Backward  float64            `json:"backward_seconds"`
	Recompute float64            `json:"recompute_seconds"`
	Exchanges map[string]float64 `json:"exchanges_seconds"` // that a micro-batch waits for, by kind
	Change    float64            `json:"change_seconds,omitempty"`
	Sync      float64            `json:"sync_seconds"` // once a step
	Memory    LayerMemory        `json:"memory_bytes"`
	RunnerUp  *AlternativeReport `json:"runner_up,omitempty"`
	TooLarge  *AlternativeReport `json:"too_large,omitempty"`
}

// AlternativeReport is an [Alternative] to a run's strategy.
type AlternativeReport struct {
	Strategy parallel.Strategy `json:"strategy"`
	Text     string            `json:"text"`
	Step     float64           `json:"step_seconds"`
	Change   float64           `json:"change"` // of the step, relatively
	Stage    int               `json:"stage"`
	Lacks    int64             `json:"lacks_bytes,omitempty"`
}

// StageReport is a pipeline stage.
type StageReport struct {
	Stage    int     `json:"stage"`
	Layers   [2]int  `json:"layers"`
	InFlight int     `json:"in_flight"`
	Time     float64 `json:"micro_batch_seconds"`
	Sync     float64 `json:"sync_seconds"`
	Memory   int64   `json:"memory_bytes"`
	Budget   int64   `json:"budget_bytes"`
}

// OtherReport is an [Other] cell.
type OtherReport struct {
	Cell   string  `json:"cell"`
	Step   float64 `json:"step_seconds"`
	Change float64 `json:"change"` // of seconds a sequence, relatively
	Bound  bool    `json:"bound,omitempty"`
	Lacks  int64   `json:"lacks_bytes,omitempty"`
}

// Report makes the report of an evaluation, with the reasons for each strategy.
func (o *Options) Report(e *Evaluation) (*Report, error) {
	why, err := o.Why(e)
	if err != nil {
		return nil, err
	}
	r := &Report{
		Plan: e.Plan, Text: e.Plan.String(), Batch: e.Batch, Step: e.Step, Throughput: float64(e.Batch) / e.Step, Split: e.Split(),
	}
	for _, w := range why {
		l := e.Layers[w.Layers[0]]
		run := Run{
			First: w.Layers[0], Last: w.Layers[1], Name: l.Name, Stage: l.Stage, Strategy: l.Strategy,
			Forward: l.Price.Forward, Backward: l.Price.Backward, Recompute: l.Price.Again, Exchanges: l.Price.Exposed(),
			Change: l.Change, Sync: max(0, l.Price.Sync()), Memory: l.Memory,
			RunnerUp: w.RunnerUp.report(e), TooLarge: w.TooLarge.report(e),
		}
		if last := e.Layers[w.Layers[1]]; last.Name != l.Name {
			run.Name += " to " + last.Name
		}
		r.Runs = append(r.Runs, run)
	}
	for i, s := range e.Stages {
		r.Stages = append(r.Stages, StageReport{i, s.Layers, s.InFlight, s.Time, s.Sync, s.Memory, s.Budget})
	}
	return r, nil
}

// report is nil for nil.
func (a *Alternative) report(e *Evaluation) *AlternativeReport {
	if a == nil {
		return nil
	}
	return &AlternativeReport{a.Strategy, a.Strategy.String(), a.Step, a.Step/e.Step - 1, a.Stage, a.Lacks}
}

// othersListed is how many other cells a report lists.
const othersListed = 5

// WithOthers adds what else the search looked at.
func (r *Report) WithOthers(c *Choice) *Report {
	r.Cells, r.Skipped = c.Cells, c.Skipped
	for _, x := range c.Others[:min(othersListed, len(c.Others))] {
		cell := x.Cell
		r.Others = append(r.Others, OtherReport{
			Cell: cell.String(), Step: x.Step, Change: x.rate()/(c.Step/float64(c.Batch)) - 1, Bound: x.Bound, Lacks: x.Lacks,
		})
	}
	return r
}

// Write prints the report.
func (r *Report) Write(w io.Writer) {
	fmt.Fprintf(w, "predicted %s a step of %d sequences: %.4g sequences/s\n", seconds(r.Step), r.Batch, r.Throughput)
	fmt.Fprintf(w, "          %s\n", strings.Join(r.Split.Parts(r.Step), ", "))
	r.writeRuns(w)
	r.writeWhy(w)
	r.writeStages(w)
	r.writeOthers(w)
}

// Parts lists what takes a share of the step that shows, as "compute 71.2%".
func (s Split) Parts(step float64) []string {
	var parts []string
	add := func(name string, t float64) {
		if t > step/2000 {
			parts = append(parts, fmt.Sprintf("%s %.1f%%", name, 100*t/step))
		}
	}
	add("compute", s.Compute)
	add("recompute", s.Recompute)
	for _, kind := range slices.Sorted(maps.Keys(s.Exchanges)) {
		add(strings.ReplaceAll(kind, "_", "-"), s.Exchanges[kind])
	}
	add("messages", s.Messages)
	add("bubble", s.Bubble)
	add("reduction", s.Reduction)
	add("update", s.Update)
	add("fixed", s.Fixed)
	return parts
}

// writeRuns prints what a layer of each run takes.
func (r *Report) writeRuns(w io.Writer) {
	fmt.Fprintln(w, "\nA layer takes, of a worker, for a micro-batch:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "layer\tname\tstage\tstrategy\tforward\tbackward\trecompute\texchanges\tonce a step\tstates\tactivations\tpeak")
	for _, x := range r.Runs {
		var exchanges float64
		for _, t := range x.Exchanges {
			exchanges += t
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%v\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", span(x.First, x.Last), x.Name, x.Stage, x.Strategy,
			seconds(x.Forward), seconds(x.Backward), seconds(x.Recompute), seconds(exchanges+x.Change), seconds(x.Sync),
			bytes(x.Memory.States), bytes(x.Memory.Activation), bytes(x.Memory.Peak))
	}
	_ = t.Flush() // fails where w does
}

// span gives "3" or "3-5".
func span(first, last int) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// writeWhy prints the alternatives.
func (r *Report) writeWhy(w io.Writer) {
	fmt.Fprintln(w, "\nWhy these strategies:")
	for _, x := range r.Runs {
		line := fmt.Sprintf("  %-7s %v", span(x.First, x.Last), x.Strategy)
		if a := x.RunnerUp; a != nil {
			line += fmt.Sprintf("; next, %s: %s a step (%+.1f%%)", a.Text, seconds(a.Step), 100*a.Change)
		} else {
			line += "; no other fits"
		}
		if a := x.TooLarge; a != nil {
			line += fmt.Sprintf("; faster, %s: %s (%+.1f%%), but stage %d lacks %s", a.Text, seconds(a.Step), 100*a.Change, a.Stage, bytes(a.Lacks))
		}
		fmt.Fprintln(w, line)
	}
}

// writeStages prints time and memory of each stage.
func (r *Report) writeStages(w io.Writer) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "stage\tlayers\tin flight\tmicro-batch\tonce a step\tmemory\tof")
	for _, s := range r.Stages {
		fmt.Fprintf(t, "%d\t%s\t%d\t%s\t%s\t%s\t%s\n", s.Stage, span(s.Layers[0], s.Layers[1]), s.InFlight, seconds(s.Time), seconds(s.Sync), bytes(s.Memory), bytes(s.Budget))
	}
	_ = t.Flush()
}

// writeOthers prints the best other cells.
func (r *Report) writeOthers(w io.Writer) {
	if len(r.Others) == 0 {
		return
	}
	fmt.Fprintf(w, "\nOf %d cells of the search, %d were ruled out by a bound. The next best:\n", r.Cells, r.Skipped)
	for _, x := range r.Others {
		switch {
		case x.Lacks > 0:
			fmt.Fprintf(w, "  %s: does not fit, lacks %s\n", x.Cell, bytes(x.Lacks))
		case x.Bound && x.Change < 1e-6:
			fmt.Fprintf(w, "  %s: no plan takes less\n", x.Cell)
		case x.Bound:
			fmt.Fprintf(w, "  %s: at least %s a step (%+.1f%%)\n", x.Cell, seconds(x.Step), 100*x.Change)
		default:
			fmt.Fprintf(w, "  %s: %s a step (%+.1f%%)\n", x.Cell, seconds(x.Step), 100*x.Change)
		}
	}
}

// seconds gives a time in the unit that suits it.
func seconds(t float64) string {
	switch {
	case t == 0:
		return "-"
	case t < 1e-3:
		return fmt.Sprintf("%.3g µs", 1e6*t)
	case t < 1:
		return fmt.Sprintf("%.3g ms", 1e3*t)
	}
	return fmt.Sprintf("%.4g s", t)
}

func bytes(n int64) string {
	if n == 0 {
		return "-"
	}
	return humanize.IBytes(uint64(max(0, n)))
}
