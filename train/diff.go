package train

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/train/planning"
	"github.com/galvani-ml/galvani/train/program"
)

// DiffPlans shows in what two plans differ: the plan, the layers, what the
// layers send, and the memory of each stage.
func DiffPlans(ctx context.Context, a, b string, o PlanOptions, out Output) error {
	var both [2]*Explanation
	for i, plan := range []string{a, b} {
		c, err := compilePlan(ctx, plan, o, out)
		if err != nil {
			return fmt.Errorf("plan %q: %w", plan, err)
		}
		if both[i], err = c.explain(ctx, plan == planAuto); err != nil {
			return fmt.Errorf("plan %q: %w", plan, err)
		}
	}
	if out.JSON {
		return json.NewEncoder(out.Result).Encode(map[string]*Explanation{"a": both[0], "b": both[1]})
	}
	diff(out.Result, both[0], both[1])
	return nil
}

// diff prints the differences of two explanations of one model.
func diff(w io.Writer, a, b *Explanation) {
	fmt.Fprintf(w, "a  %s\nb  %s\n\n", a.Text, b.Text)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(what string, a, b any) {
		if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
			fmt.Fprintf(t, "%s\t%s\t%s\n", what, x, y)
		}
	}
	fmt.Fprintln(t, "\ta\tb")
	row("workers", a.Workers, b.Workers)
	row("stages", a.Plan.PP, b.Plan.PP)
	row("micro-batches", a.Plan.Micro, b.Plan.Micro)
	row("schedule", a.Plan.Schedule, b.Plan.Schedule)
	row("bubble", fmt.Sprintf("%.1f%%", 100*a.Bubble), fmt.Sprintf("%.1f%%", 100*b.Bubble))
	if a.Predicted != nil && b.Predicted != nil {
		diffTimes(row, a.Predicted, b.Predicted)
	}
	diffLayers(row, a, b)
	diffMemory(row, a, b)
	_ = t.Flush() // fails where w does, which the caller sees in what it writes
}

// diffTimes compares where the time of a step goes.
func diffTimes(row func(string, any, any), a, b *planner.Report) {
	row("predicted step", planning.Duration(a.Step), planning.Duration(b.Step))
	row("sequences/s", fmt.Sprintf("%.4g", a.Throughput), fmt.Sprintf("%.4g", b.Throughput))
	for _, x := range []struct {
		what string
		a, b float64
	}{
		{"compute", a.Split.Compute, b.Split.Compute}, {"recompute", a.Split.Recompute, b.Split.Recompute},
		{"exchanges", sumOf(a.Split.Exchanges), sumOf(b.Split.Exchanges)}, {"messages between stages", a.Split.Messages, b.Split.Messages},
		{"bubble", a.Split.Bubble, b.Split.Bubble}, {"reduction of gradients", a.Split.Reduction, b.Split.Reduction}, {"update", a.Split.Update, b.Split.Update},
	} {
		row("predicted "+x.what, planning.Duration(x.a), planning.Duration(x.b))
	}
}

func sumOf(parts map[string]float64) (sum float64) {
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		sum += parts[name]
	}
	return sum
}

// diffLayers compares the layers, runs of the same difference on one line.
func diffLayers(row func(string, any, any), a, b *Explanation) {
	for from := 0; from < len(a.Layers); {
		l, m, to := a.Layers[from], b.Layers[from], from
		for to+1 < len(a.Layers) && l.alike(a.Layers[to+1]) && m.alike(b.Layers[to+1]) {
			to++
		}
		what := fmt.Sprintf("layer %d (%s)", from, l.Name)
		if to > from {
			what = fmt.Sprintf("layers %d-%d", from, to)
		}
		row(what, l.Strategy, m.Strategy)
		row(what+" on stage", l.Stage, m.Stage)
		row(what+" parameters a worker holds", count(int(l.Params)), count(int(m.Params)))
		row(what+" sent a step", Size(l.PerStep), Size(m.PerStep))
		from = to + 1
	}
}

// diffMemory compares the largest worker of each stage, or of the plan where
// the stages are not the same number.
func diffMemory(row func(string, any, any), a, b *Explanation) {
	if len(a.Stages) == len(b.Stages) {
		for i, s := range a.Stages {
			memoryRows(row, fmt.Sprintf("stage %d ", i), s.Memory, b.Stages[i].Memory)
		}
		return
	}
	most := func(x *Explanation) program.Planned {
		var all []program.Planned
		for _, s := range x.Stages {
			all = append(all, s.Memory)
		}
		return largest(all)
	}
	memoryRows(row, "largest worker ", most(a), most(b))
}

func memoryRows(row func(string, any, any), where string, a, b program.Planned) {
	for _, c := range exec.Classes() {
		row(where+c.String(), Size(a.Memory[c]), Size(b.Memory[c]))
	}
	row(where+"planned", Size(a.Total()), Size(b.Total()))
}
