package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/launch"
)

// Restart is one recovery of a run from a failure of its workers.
type Restart struct {
	Cause    string  `json:"cause"`
	From     int     `json:"from"`   // the step it went on after
	Source   string  `json:"source"` // where that step's parameters were
	LostStep int     `json:"lost_steps"`
	Seconds  float64 `json:"seconds"` // from noticing the failure to the end of the first step
}

// origin is where an epoch of a run begins.
type origin struct {
	step    int    // steps taken before
	weights string // as in Spec
	moments bool
	snap    string // path of a snapshot; empty for none
	what    string // for a person
}

// restart prepares the next epoch of a run whose workers failed with cause: new
// workers go on from the newest state there is. It returns cause where nobody
// could go on: where the same would come again, the run was interrupted, or
// --max-restarts is used up. done says that nothing is left to do.
func (j *job) restart(ctx context.Context, cause error) (done bool, err error) {
	switch {
	case ctx.Err() != nil:
		if errors.Is(cause, ctx.Err()) || !j.begun {
			return false, ctx.Err()
		}
		return false, cause
	case j.spec.Trial || !j.transient(cause):
		return false, cause
	case len(j.result.Restarts) >= j.spec.Config.MaxRestarts:
		if n := len(j.result.Restarts); n > 0 {
			return false, fmt.Errorf("%w; the workers were started anew %d times before, --max-restarts allows no more", cause, n)
		}
		return false, cause
	}
	j.progress.fact("failed", "%s", strings.ReplaceAll(cause.Error(), "\n", "\n            "))
	if err := removePartial(j.spec.Out); err != nil {
		return false, errors.Join(cause, err)
	}
	from := j.newest()
	if s := j.newestSnapshot(); s.step > from.step {
		from = s
	}
	if from.step >= j.spec.Config.Steps {
		j.progress.fact("", "all steps were taken and saved before")
		return true, nil
	}
	if j.plan, err = j.planFor(j.spec.Config.Workers); err != nil {
		return false, errors.Join(cause, err)
	}
	j.begin(cause, from)
	return false, nil
}

// transient reports whether other workers may succeed. What prevents the first
// workers of a run from starting will prevent others, unless they crashed.
func (j *job) transient(cause error) bool {
	return launch.Transient(cause) && (j.begun || errors.As(cause, new(*launch.ExitError)))
}

// begin sets the run back to an origin and says so.
func (j *job) begin(cause error, from origin) {
	r := Restart{Cause: cause.Error(), From: from.step, Source: from.what, LostStep: max(0, j.result.Step-from.step)}
	j.result.Restarts = append(j.result.Restarts, r)
	j.progress.fact("restart", "%d of at most %d: new workers go on after step %d, from %s; %d steps are taken again",
		len(j.result.Restarts), j.spec.Config.MaxRestarts, from.step, from.what, r.LostStep)
	j.name = j.name.Next()
	j.spec.Plan, j.spec.Start, j.spec.Weights, j.spec.Moments = j.plan, from.step, from.weights, from.moments
	j.spec.FromSnapshot = from.snap
	j.result.Step = from.step
	j.progress.again()
}

// restarted notes the end of the first step after a failure.
func (j *job) restarted(step int) {
	if j.noticed.IsZero() {
		return
	}
	took := time.Since(j.noticed)
	j.result.Restarts[len(j.result.Restarts)-1].Seconds = took.Seconds()
	j.noticed = time.Time{}
	j.progress.fact("recovered", "step %d is done, %v after the failure was noticed", step, took.Round(time.Millisecond))
}

// newest is the state after the most steps: that of the newest sound checkpoint
// of the run, or what the run began with.
func (j *job) newest() origin {
	dirs, _ := filepath.Glob(filepath.Join(j.spec.Out, checkpointsDir, stepPrefix+"*")) // fails on bad patterns only
	slices.Sort(dirs)
	for _, dir := range slices.Backward(dirs) {
		m, err := ReadManifest(dir)
		if err == nil && m.Step >= j.first.step {
			return origin{step: m.Step, weights: dir, moments: true, what: "its checkpoint"}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			j.progress.fact("warning", "%v", err)
		}
	}
	return j.first
}

// planFor gives the plan for the workers that there are: the one of before, where
// their number is the same. Workers of this machine are always as many.
func (j *job) planFor(workers int) (*parallel.Plan, error) {
	if n := j.plan.Mesh().Size(); n != workers {
		return nil, fmt.Errorf("the plan %v is for %d workers, there are %d: continue with --resume and another --plan", j.plan, n, workers)
	}
	return j.plan, nil
}
