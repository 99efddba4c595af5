package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	training "github.com/galvani-ml/galvani/train"
)

// oneWorker is the peer of all plans.
const oneWorker = "one-worker"

// PlanResult is what the suite train measures of a plan, as JSON one object a
// line.
type PlanResult struct {
	Suite string  `json:"suite"`
	Name  string  `json:"name"`  // the workload's, and the plan
	Value float64 `json:"value"` // tokens a second in the median step
	Unit  string  `json:"unit"`
	// Peers is the ratio of the speed to that of one worker with as many
	// threads as all workers have here, PeersMin and PeersMax its extremes over
	// the rounds.
	Peers    map[string]float64 `json:"peers"`
	PeersMin map[string]float64 `json:"peers_min"`
	PeersMax map[string]float64 `json:"peers_max"`

	Workload   string  `json:"workload"`
	Plan       string  `json:"plan"`      // as it was asked for
	FullPlan   string  `json:"full_plan"` // with all defaults
	Workers    int     `json:"workers"`
	Stages     int     `json:"stages"`  // of the pipeline; 1 without
	Threads    int     `json:"threads"` // of each worker
	Seconds    float64 `json:"seconds"` // the median step
	SecondsMin float64 `json:"seconds_min"`
	SecondsMax float64 `json:"seconds_max"`
	// CommunicationShare is the part of a step, 0 to 1, for which a worker
	// waits for collectives and for its sends; time during which it computes
	// beside them does not count. It is the mean over workers, and the median
	// over steps.
	CommunicationShare float64 `json:"communication_share"`
	// BubbleShare is the part for which a worker waits for other pipeline
	// stages: for activations and gradients that it is to receive, and, done
	// with its part of the step, for the others before the update. It holds the
	// bubble of the schedule, the imbalance of the stages and the way of what is
	// received, as far as it hides behind no computation. It is 0 without
	// stages.
	BubbleShare  float64 `json:"bubble_share"`
	SentBytes    int64   `json:"sent_bytes_per_step"` // by the mean worker
	MemoryBytes  int64   `json:"memory_bytes"`        // most resident in a worker at the end of a step, the largest worker's
	PlannedBytes int64   `json:"planned_bytes"`       // before it ran, the largest worker's
	Loss         float64 `json:"loss"`                // of the last step
	// LossOff is by how much any step's loss differs from that of one worker at
	// most, relatively.
	LossOff float64 `json:"loss_off"`
	Rounds  int     `json:"rounds"`
	Steps   int     `json:"steps"` // a round
}

// result sums the rounds of a plan up, beside those of one worker.
func (p *planned) result(o TrainOptions, w workload, one *planned) PlanResult {
	steps := slices.Concat(p.rounds...)
	seconds := each(steps, func(m training.Metrics) float64 { return m.Seconds })
	typical := median(seconds)
	r := PlanResult{
		Suite: "train", Name: w.Name() + " " + p.text, Value: float64(w.Tokens()) / typical, Unit: "tokens/s",
		Workload: w.Label, Plan: p.text, FullPlan: p.trial.Plan().String(), Workers: p.trial.Workers(), Stages: p.trial.Plan().PP, Threads: p.trial.Threads(),
		Seconds: typical, SecondsMin: slices.Min(seconds), SecondsMax: slices.Max(seconds),
		CommunicationShare: median(each(steps, func(m training.Metrics) float64 { return m.CommunicationSeconds / m.Seconds })),
		BubbleShare:        median(each(steps, func(m training.Metrics) float64 { return m.WaitSeconds / m.Seconds })),
		SentBytes:          int64(median(each(steps, func(m training.Metrics) float64 { return float64(m.SentBytes) }))),
		Loss:               steps[len(steps)-1].Loss, Rounds: o.Rounds, Steps: o.Steps,
	}
	for i, m := range steps {
		r.MemoryBytes, r.PlannedBytes = max(r.MemoryBytes, m.PeakBytes), m.PlannedBytes
		want := one.rounds[i/o.Steps][i%o.Steps].Loss
		r.LossOff = max(r.LossOff, math.Abs(m.Loss-want)/math.Abs(want))
	}
	ratios := p.over(one)
	r.Peers = map[string]float64{oneWorker: median(ratios)}
	r.PeersMin = map[string]float64{oneWorker: slices.Min(ratios)}
	r.PeersMax = map[string]float64{oneWorker: slices.Max(ratios)}
	return r
}

// over are the ratios of the speed to another plan's, by round.
func (p *planned) over(q *planned) []float64 {
	var ratios []float64
	for i := range p.rounds {
		ratios = append(ratios, median(each(q.rounds[i], stepSeconds))/median(each(p.rounds[i], stepSeconds)))
	}
	return ratios
}

func stepSeconds(m training.Metrics) float64 { return m.Seconds }

// each is a figure of each step.
func each(steps []training.Metrics, figure func(training.Metrics) float64) []float64 {
	var all []float64
	for _, m := range steps {
		all = append(all, figure(m))
	}
	return all
}

// writePlans prints the results of one workload for people.
func writePlans(w io.Writer, results []PlanResult) error {
	var b strings.Builder
	width := 0
	for _, r := range results {
		width = max(width, utf8.RuneCountInString(r.Plan))
	}
	one := results[0]
	fmt.Fprintf(&b, "%s: %s of %s, threads of all workers together: %d\n",
		strings.TrimSuffix(one.Name, " "+one.Plan), plural(one.Rounds, "round"), plural(one.Steps, "step"), one.Threads)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%-*s\tworkers\ttokens/s\tof one worker\trounds\tms a step\tcommunication\tbubble\tsent a step\tplanned\tmeasured\tloss\toff by\t\n", width, "plan")
	for _, r := range results {
		fmt.Fprintf(t, "%-*s\t%d x %d\t%.0f\t%.2f\t%.2f to %.2f\t%.1f\t%.1f%%\t%s\t%s\t%s\t%s\t%.5f\t%.1g\t\n", width, r.Plan, r.Workers, r.Threads,
			r.Value, r.Peers[oneWorker], r.PeersMin[oneWorker], r.PeersMax[oneWorker], 1e3*r.Seconds,
			100*r.CommunicationShare, r.bubble(), humanize.IBytes(uint64(r.SentBytes)),
			humanize.IBytes(uint64(r.PlannedBytes)), r.memory(), r.Loss, r.LossOff)
	}
	t.Flush() // writes to memory: cannot fail
	b.WriteString(plansLegend + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

const plansLegend = `workers: processes x threads of each. of one worker: the ratio of speeds, and its extremes over the rounds.
communication: the part of a step that a worker waits for collectives and sends; bubble: for other pipeline stages, to receive
activations and gradients, their way included, and for the last stage at the end of the step. Neither holds what hides behind
computation; both, and sent, are of the mean worker. planned, measured: memory of the largest worker. off by: the largest relative
difference of a loss from one worker's.
`

// bubble is the share as it is printed: only stages have one.
func (r PlanResult) bubble() string {
	if r.Stages == 1 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*r.BubbleShare)
}

// memory is what was measured, where the system tells.
func (r PlanResult) memory() string {
	if r.MemoryBytes == 0 {
		return "-"
	}
	return humanize.IBytes(uint64(r.MemoryBytes))
}

// plansChart has a group for each workload: tokens a second under each plan.
func plansChart(results []PlanResult, machine string) chart {
	c := chart{Title: "Plans", Machine: machine, Unit: "tokens/s; higher is better"}
	most := map[string]float64{}
	for _, r := range results {
		most[r.Workload] = max(most[r.Workload], r.Value)
	}
	for _, r := range results {
		name := r.Workload + ": " + strings.TrimSuffix(r.Name, " "+r.Plan)
		if n := len(c.Groups); n == 0 || c.Groups[n-1].Name != name {
			c.Groups = append(c.Groups, barGroup{Name: name})
		}
		text := fmt.Sprintf("%.0f (%.2f of one worker; communication %.0f%%", r.Value, r.Peers[oneWorker], 100*r.CommunicationShare)
		if r.Stages > 1 {
			text += fmt.Sprintf(", bubble %.0f%%", 100*r.BubbleShare)
		}
		g := &c.Groups[len(c.Groups)-1]
		g.Bars = append(g.Bars, bar{r.Plan, r.Value / most[r.Workload], text + ")", true})
	}
	return c
}
