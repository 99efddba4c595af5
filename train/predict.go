package train

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/parallel/simulate"
	"github.com/galvani-ml/galvani/train/planning"
)

// prediction is what a plan takes on a cluster.
type prediction struct {
	*planning.Problem
	*planner.Evaluation
}

// predict prices the plan of the setup on its cluster. The prediction is to be
// closed.
func (s *setup) predict(ctx context.Context) (*prediction, error) {
	r, err := s.request(nil, s.config.Batch)
	if err != nil {
		return nil, err
	}
	r.RowsAtOnce = 0
	facts, err := s.facts()
	if err != nil {
		return nil, err
	}
	if err := s.describeCluster(ctx, &r, false, s.plan.LayerStrategies(facts)...); err != nil {
		return nil, err
	}
	p, err := planning.Open(r)
	if err != nil {
		return nil, err
	}
	e, err := planner.Evaluate(p.Options, s.plan, s.config.Batch)
	if err != nil {
		p.Close()
		return nil, err
	}
	return &prediction{p, e}, nil
}

// simulation is what a simulated step took.
type simulation struct {
	Text               string  `json:"text"` // of the plan
	Cluster            string  `json:"cluster"`
	*simulate.Summary          // of the step
	Bubble             float64 `json:"bubble_share"`
	Communication      float64 `json:"communication_share"`
	Update             float64 `json:"update_share"`
	Formula            float64 `json:"formula_step_seconds"` // as the search scores the plan
	SequencesPerSecond float64 `json:"sequences_per_second"`
}

// timelineWidth is how many characters a drawn step has.
const timelineWidth = 100

// SimulatePlan plays a step of a plan on a cluster, event by event. trace names a
// file to write the events to, for Chrome and Perfetto; empty for none.
func SimulatePlan(ctx context.Context, plan string, o PlanOptions, trace string, out Output) error {
	s, err := o.open(ctx, plan, out)
	if err != nil {
		return err
	}
	if err := s.choosePlan(ctx); err != nil {
		return err
	}
	p, err := s.predict(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	played, err := simulate.Play(p.Job(p.Evaluation))
	if err != nil {
		return err
	}
	if err := writeFile(played.WriteTrace, trace); err != nil {
		return err
	}
	r := simulation{
		Text: s.plan.String(), Cluster: p.Request.Cluster.Name, Summary: &played.Summary, Bubble: played.BubbleShare(), Communication: played.CommunicationShare(),
		Update: played.UpdateShare(), Formula: p.Step, SequencesPerSecond: float64(o.Batch) / played.Step,
	}
	if out.JSON {
		return json.NewEncoder(out.Result).Encode(r)
	}
	r.write(out.Result)
	fmt.Fprintf(out.Result, "\n%s", played.Text(timelineWidth))
	if trace != "" {
		fmt.Fprintf(out.Result, "\ntrace     %s; open it at ui.perfetto.dev\n", trace)
	}
	return nil
}

// write prints the summary.
func (r *simulation) write(w io.Writer) {
	fmt.Fprintf(w, "plan      %s\ncluster   %s\n", r.Text, r.Cluster)
	fmt.Fprintf(w, "step      %v simulated, %v by the search's formula; %.4g sequences/s\n", planning.Duration(r.Step), planning.Duration(r.Formula), r.SequencesPerSecond)
	fmt.Fprintf(w, "          bubble %.1f%%, communication %.1f%%, update %.1f%%\n", 100*r.Bubble, 100*r.Communication, 100*r.Update)
	for i, s := range r.Stages {
		fmt.Fprintf(w, "stage %-3d compute %v, waits for exchanges %v and for stages %v; %d in flight, %v at most\n", i,
			planning.Duration(s.Compute), planning.Duration(s.Communication), planning.Duration(s.Bubble), s.Inflight, Size(s.Memory))
	}
	for _, l := range r.Links {
		fmt.Fprintf(w, "link      %s: busy %v of the step\n", l.Name, planning.Duration(l.Busy))
	}
}
