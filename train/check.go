package train

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/train/planning"
	"github.com/galvani-ml/galvani/train/program"
)

// CheckPlan validates a plan, compiles every stage of it, and holds it to the
// budget. Where that is exceeded the error is a *BudgetError.
func CheckPlan(ctx context.Context, plan string, o PlanOptions, out Output) error {
	c, err := compilePlan(ctx, plan, o, out)
	if err != nil {
		return err
	}
	if err := checkBudget(c.spec, c.stages); err != nil {
		return err
	}
	most := largest(plannedStages(c.stages))
	r := checked{Plan: c.spec.Plan, Text: c.spec.Plan.String(), Workers: c.spec.Config.Workers, Bytes: most.Total(), Planned: most}
	if o.Cluster != "" {
		if r.Times, err = c.checkTimes(ctx); err != nil {
			return err
		}
	}
	return r.write(out)
}

// checked is a plan that fits.
type checked struct {
	Plan    *parallel.Plan  `json:"plan"`
	Text    string          `json:"text"`
	Workers int             `json:"workers"`
	Bytes   int64           `json:"planned_bytes"`
	Planned program.Planned `json:"planned"`
	Times   *checkedTimes   `json:"times,omitempty"`
}

// checkedTimes is what a plan takes, computed twice, and held against others.
type checkedTimes struct {
	Cluster     string               `json:"cluster"`
	Step        float64              `json:"step_seconds"`       // from the search's tables
	Recomputed  float64              `json:"recomputed_seconds"` // from the plan's own compiled stages
	Certificate *planner.Certificate `json:"certificate"`
}

// checkTimes evaluates the plan twice and certifies it.
func (c *compiledPlan) checkTimes(ctx context.Context) (*checkedTimes, error) {
	p, err := c.setup.predict(ctx)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	again, err := p.Recompute(c.spec.Plan, c.spec.Config.Batch)
	if err != nil {
		return nil, err
	}
	t := &checkedTimes{Cluster: p.Request.Cluster.Name, Step: p.Step, Recomputed: again.Step}
	t.Certificate, err = p.Certify(p.Evaluation)
	return t, err
}

// write prints what was found.
func (r *checked) write(out Output) error {
	if out.JSON {
		return json.NewEncoder(out.Result).Encode(r)
	}
	fmt.Fprintf(out.Result, "ok  %s\n    %s of %s; a worker needs %v\n", r.Text, plural(r.Plan.PP, "stage", "stages"),
		plural(r.Workers/r.Plan.PP, "worker", "workers"), r.Planned)
	t := r.Times
	if t == nil {
		return nil
	}
	fmt.Fprintf(out.Result, "    %v a step on %s; %v recomputed from the compiled stages (%+.1f%%)\n", planning.Duration(t.Step), t.Cluster,
		planning.Duration(t.Recomputed), 100*(t.Recomputed/t.Step-1))
	switch x := t.Certificate; {
	case !x.Sure:
		fmt.Fprintf(out.Result, "    not certified: there are too many plans with these stages and micro-batches to try each\n")
	case x.Gap < 1e-6:
		fmt.Fprintf(out.Result, "    certified: of all plans with these stages and micro-batches none is faster (%.0f ways to run a stage tried)\n", x.Ways)
	default:
		fmt.Fprintf(out.Result, "    not the fastest: the best plan with these stages and micro-batches takes %v, %.1f%% less (%.0f ways to run a stage tried)\n",
			planning.Duration(x.Best), 100*(1-x.Best/t.Step), x.Ways)
	}
	return nil
}
