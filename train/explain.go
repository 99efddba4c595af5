package train

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/train/program"
)

// Explanation says what each layer, stage and worker does under a plan.
type Explanation struct {
	Plan    *parallel.Plan `json:"plan"`
	Text    string         `json:"text"` // of the plan
	Reasons []string       `json:"reasons,omitempty"`
	Workers int            `json:"workers"`
	Rows    int            `json:"rows"`   // sequences of a micro-batch, over all workers
	Bubble  float64        `json:"bubble"` // share of a step that a stage idles
	Axes    []AxisGroups   `json:"axes"`   // of the mesh, outermost first
	Layers  []LayerFacts   `json:"layers"` // of the model
	Stages  []StageFacts   `json:"stages"` // of the pipeline
	Planned int64          `json:"planned_bytes"`
	Budget  int64          `json:"memory,omitempty"` // bytes a worker may use
	OverBy  int64          `json:"missing_bytes,omitempty"`

	Cluster   string          `json:"cluster,omitempty"`   // that times are predicted for
	Predicted *planner.Report `json:"predicted,omitempty"` // times, and why these strategies
}

// AxisGroups says which ranks are neighbours along an axis of the mesh.
type AxisGroups struct {
	Axis   string  `json:"axis"`
	Size   int     `json:"size"`
	Groups [][]int `json:"groups"`
}

// LayerFacts is a layer as one worker of its stage has it.
type LayerFacts struct {
	Layer     int               `json:"layer"`
	Name      string            `json:"name"`
	Stage     int               `json:"stage"`
	Strategy  parallel.Strategy `json:"strategy"`
	Params    int64             `json:"parameters"` // elements that the worker holds
	Of        int64             `json:"parameters_of"`
	PerMicro  int64             `json:"sent_bytes_per_micro_batch"`
	PerStep   int64             `json:"sent_bytes_per_step"` // all, that of micro-batches included
	Exchanges []LayerExchange   `json:"exchanges,omitempty"`
}

// LayerExchange sums the exchanges of a layer of one kind, group and pass.
type LayerExchange struct {
	Kind  string `json:"kind"`
	Group string `json:"group,omitempty"`
	Ranks int    `json:"ranks"`
	Pass  string `json:"pass"`
	Every string `json:"every"` // "micro-batch" or "step"
	Calls int    `json:"calls"`
	Sent  int64  `json:"sent_bytes"` // by the worker, each time
}

// StageFacts is a pipeline stage as one of its workers has it.
type StageFacts struct {
	Stage    int             `json:"stage"`
	Ranks    []int           `json:"ranks"`
	Layers   [2]int          `json:"layers"` // first and last
	Slots    int             `json:"in_flight"`
	Schedule string          `json:"schedule"`
	Planned  int64           `json:"planned_bytes"`
	Memory   program.Planned `json:"memory"`
	Largest  []Largest       `json:"largest"`
	PerMicro int64           `json:"sent_bytes_per_micro_batch"`
	PerStep  int64           `json:"sent_bytes_per_step"`
}

// Largest is one of the largest buffers of a stage.
type Largest struct {
	Name  string `json:"name"`
	Layer int    `json:"layer"`
	Class string `json:"class"`
	Bytes int64  `json:"bytes"`
}

// buffersListed is how many buffers of a stage an explanation lists.
const buffersListed = 5

// explain reads everything off the compiled stages.
func explain(s *setup, spec *Spec, stages []*stagePlan, facts parallel.Facts) *Explanation {
	p := spec.Plan
	x := &Explanation{
		Plan: p, Text: p.String(), Reasons: s.reasons, Workers: p.Mesh().Size(), Rows: spec.Config.Batch / p.Micro,
		Bubble: float64(p.PP-1) / float64(p.Micro+p.PP-1), Axes: axisGroups(p.Mesh()),
		Planned: largest(plannedStages(stages)).Total(), Budget: int64(spec.Config.Memory),
	}
	if x.Budget > 0 {
		x.OverBy = max(0, x.Planned-x.Budget)
	}
	stageOf := stageOfLayer(p, facts)
	for l, strategy := range p.LayerStrategies(facts) {
		x.Layers = append(x.Layers, layerFacts(stages[stageOf[l]], p.Micro, l, strategy))
	}
	for _, stage := range stages {
		x.Stages = append(x.Stages, stageFacts(stage, p, stageOf))
	}
	return x
}

// stageOfLayer is the stage of each layer: the embedding is on the first and
// the head on the last.
func stageOfLayer(p *parallel.Plan, f parallel.Facts) []int {
	of := []int{0}
	for stage, n := range p.BlocksPerStage(f) {
		of = append(of, slices.Repeat([]int{stage}, n)...)
	}
	return append(of, p.PP-1)
}

func axisGroups(mesh parallel.Mesh) []AxisGroups {
	var all []AxisGroups
	for _, a := range mesh {
		x := AxisGroups{Axis: a.Name, Size: a.Size}
		for rank := range mesh.Size() {
			if g := mesh.Group(a.Name, rank); g[0] == rank {
				x.Groups = append(x.Groups, g)
			}
		}
		all = append(all, x)
	}
	return all
}

// layerFacts counts what a worker of the layer's stage holds and exchanges.
func layerFacts(s *stagePlan, micro, layer int, strategy parallel.Strategy) LayerFacts {
	f := LayerFacts{Layer: layer, Name: s.part.LayerName(layer), Stage: s.number, Strategy: strategy}
	for _, shard := range s.program.Stage().Params {
		if shard.Param.Layer == layer {
			f.Params += int64(graph.TypeOf(shard.Node).Size())
			f.Of += int64(shard.Param.Size())
		}
	}
	index := map[LayerExchange]int{}
	for _, t := range s.traffic() {
		if t.Layer != layer {
			continue
		}
		key := LayerExchange{Kind: t.Kind, Group: t.Group, Ranks: t.Ranks, Pass: passName(t.Pass), Every: "micro-batch"}
		if t.Once {
			key.Every = "step"
		}
		if _, ok := index[key]; !ok {
			index[key] = len(f.Exchanges)
			f.Exchanges = append(f.Exchanges, key)
		}
		e := &f.Exchanges[index[key]]
		e.Calls++
		e.Sent += t.Sent
	}
	for _, e := range f.Exchanges {
		if e.Every == "step" {
			f.PerStep += e.Sent
		} else {
			f.PerMicro += e.Sent
		}
	}
	f.PerStep += int64(micro) * f.PerMicro
	return f
}

func passName(p graph.Pass) string {
	if p == graph.Backward {
		return "backward"
	}
	return "forward"
}

// traffic lists the exchanges of a worker of the stage.
func (s *stagePlan) traffic() []exec.Traffic {
	return program.Traffic(s.program, s.part)
}

func stageFacts(s *stagePlan, p *parallel.Plan, stageOf []int) StageFacts {
	f := StageFacts{
		Stage: s.number, Slots: s.part.Slots, Planned: s.planned.Total(), Memory: s.planned,
		Layers: [2]int{slices.Index(stageOf, s.number), len(stageOf) - 1},
	}
	if next := slices.Index(stageOf, s.number+1); next >= 0 {
		f.Layers[1] = next - 1
	}
	perStage := p.Mesh().Size() / p.PP
	for r := range perStage {
		f.Ranks = append(f.Ranks, s.number*perStage+r)
	}
	var actions []string
	for _, a := range s.part.Schedule {
		actions = append(actions, a.String())
	}
	f.Schedule = strings.Join(actions, " ")
	for _, b := range s.program.Largest(buffersListed) {
		f.Largest = append(f.Largest, Largest{b.Name, b.Layer, b.Class.String(), b.Bytes})
	}
	for _, t := range s.traffic() {
		if t.Once {
			f.PerStep += t.Sent
		} else {
			f.PerMicro += t.Sent
		}
	}
	f.PerStep += int64(p.Micro) * f.PerMicro
	return f
}

// write prints the explanation for a person, or as JSON.
func (x *Explanation) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(x)
	}
	fmt.Fprintf(w, "plan      %s\n", x.Text)
	for _, r := range x.Reasons {
		fmt.Fprintf(w, "          %s\n", r)
	}
	fmt.Fprintf(w, "step      %s of %s; %s\n", plural(x.Plan.Micro, "micro-batch", "micro-batches"), plural(x.Rows, "sequence", "sequences"), x.bubble())
	for _, a := range x.Axes {
		if a.Size > 1 {
			fmt.Fprintf(w, "mesh      %-6s ranks %s\n", a.Axis, groupList(a.Groups))
		}
	}
	if x.Workers == 1 {
		fmt.Fprintln(w, "mesh      one worker")
	}
	x.writeLayers(w)
	x.writeExchanges(w)
	x.writeStages(w)
	if x.Budget > 0 {
		x.writeBudget(w)
	}
	if x.Predicted != nil {
		fmt.Fprintf(w, "\nOn %s:\n", x.Cluster)
		x.Predicted.Write(w)
	}
	return nil
}

func (x *Explanation) bubble() string {
	if x.Plan.PP == 1 {
		return "one stage, no bubble"
	}
	return fmt.Sprintf("%d stages in %s order, each idle %.1f%% of a step", x.Plan.PP, x.Plan.Schedule, 100*x.Bubble)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// groupList prints "0,2 1,3", and of long lists the beginning.
func groupList(groups [][]int) string {
	const most = 8
	var parts []string
	for i, g := range groups {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more groups", len(groups)-most))
			break
		}
		parts = append(parts, strings.ReplaceAll(strings.Trim(fmt.Sprint(g), "[]"), " ", ","))
	}
	return strings.Join(parts, "  ")
}

// writeLayers prints the table of layers; neighbours that differ in nothing but
// their number share a line.
func (x *Explanation) writeLayers(w io.Writer) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "layer\tname\tstage\tstrategy\tparameters held\tsent per micro-batch\tper step")
	for from := 0; from < len(x.Layers); {
		l, to := x.Layers[from], from
		for to+1 < len(x.Layers) && l.alike(x.Layers[to+1]) {
			to++
		}
		number, name := fmt.Sprint(from), l.Name
		if to > from {
			number, name = fmt.Sprintf("%d-%d", from, to), l.Name+" to "+x.Layers[to].Name
		}
		held := count(int(l.Params))
		if l.Params != l.Of {
			held += " of " + count(int(l.Of))
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%v\t%s\t%v\t%v\n", number, name, l.Stage, l.Strategy, held, Size(l.PerMicro), Size(l.PerStep))
		from = to + 1
	}
	_ = t.Flush() // fails where w does; what is written next reports that
}

// alike reports whether m does the same as l on the same stage.
func (l LayerFacts) alike(m LayerFacts) bool {
	return l.Stage == m.Stage && l.Strategy == m.Strategy && l.Params == m.Params && l.Of == m.Of && slices.Equal(l.Exchanges, m.Exchanges)
}

// writeExchanges prints what each layer exchanges.
func (x *Explanation) writeExchanges(w io.Writer) {
	if !slices.ContainsFunc(x.Layers, func(l LayerFacts) bool { return len(l.Exchanges) > 0 }) {
		return
	}
	fmt.Fprintln(w, "\nA worker sends, of each layer:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "layer\tpass\texchange\tover\tcalls\tbytes\tevery")
	for from := 0; from < len(x.Layers); {
		l, to := x.Layers[from], from
		for to+1 < len(x.Layers) && l.alike(x.Layers[to+1]) {
			to++
		}
		number := fmt.Sprint(from)
		if to > from {
			number = fmt.Sprintf("%d-%d", from, to)
		}
		for _, e := range l.Exchanges {
			if e.Kind == (graph.Recv{}).Kind() {
				continue
			}
			over := "a neighbouring stage"
			if e.Group != "" {
				over = fmt.Sprintf("%s, %d ranks", e.Group, e.Ranks)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%v\t%s\n", number, e.Pass, strings.ReplaceAll(e.Kind, "_", "-"), over, e.Calls, Size(e.Sent), e.Every)
		}
		from = to + 1
	}
	_ = t.Flush()
	if !slices.ContainsFunc(x.Layers, LayerFacts.onceAStep) {
		return
	}
	fmt.Fprintln(w, "What is sent once a step is joined to tensors of several layers, and counted at the first of them.")
}

// onceAStep reports whether the layer has exchanges that are.
func (l LayerFacts) onceAStep() bool {
	return slices.ContainsFunc(l.Exchanges, func(e LayerExchange) bool { return e.Every == "step" })
}

// writeStages prints memory by class, the schedule and the largest buffers.
func (x *Explanation) writeStages(w io.Writer) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := "stage\tranks\tlayers\tin flight"
	for _, c := range exec.Classes() {
		head += "\t" + c.String()
	}
	fmt.Fprintln(t, head+"\tprocess\tplanned")
	for _, s := range x.Stages {
		ranks := fmt.Sprint(s.Ranks[0])
		if n := len(s.Ranks); n > 1 {
			ranks += fmt.Sprintf("-%d", s.Ranks[n-1])
		}
		line := fmt.Sprintf("%d\t%s\t%d-%d\t%d", s.Stage, ranks, s.Layers[0], s.Layers[1], s.Slots)
		for _, c := range exec.Classes() {
			line += fmt.Sprintf("\t%v", Size(s.Memory.Memory[c]))
		}
		fmt.Fprintf(t, "%s\t%v\t%v\n", line, Size(s.Memory.Process), Size(s.Planned))
	}
	_ = t.Flush()
	for _, s := range x.Stages {
		fmt.Fprintf(w, "\nstage %d\n  schedule  %s\n", s.Stage, s.Schedule)
		fmt.Fprintf(w, "  sends     %v a step from each worker\n", Size(s.PerStep))
		for i, b := range s.Largest {
			name := "          "
			if i == 0 {
				name = "  largest "
			}
			fmt.Fprintf(w, "%s  %v %s, %s of layer %d\n", name, Size(b.Bytes), b.Class, b.Name, b.Layer)
		}
	}
}

func (x *Explanation) writeBudget(w io.Writer) {
	fmt.Fprintln(w)
	if x.OverBy > 0 {
		fmt.Fprintf(w, "memory    %v planned, %v more than --memory %v\n", Size(x.Planned), Size(x.OverBy), Size(x.Budget))
		return
	}
	fmt.Fprintf(w, "memory    %v planned of --memory %v\n", Size(x.Planned), Size(x.Budget))
}
