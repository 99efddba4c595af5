package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/train/launch"
	"github.com/galvani-ml/galvani/train/profile"
	"github.com/galvani-ml/galvani/train/program"
)

// exchangeTimeout bounds each wait for another rank. A rank that dies or hangs
// is noticed by its lease long before; this is for one that computes without
// end.
const exchangeTimeout = 10 * time.Minute

// jobKind is the kind of the jobs that [Run] starts.
const jobKind = "train"

// Work is a worker process: it reads an invitation from in, joins the job and
// does its part until the job is done. It ends early if in ends, since then its
// coordinator is gone.
func Work(ctx context.Context, in io.Reader) error {
	services := profile.Services()
	services[jobKind] = serve
	return launch.Work(ctx, in, services)
}

// serve does a member's part of the job.
func serve(ctx context.Context, member *comm.Member, text []byte) (err error) {
	spec, err := decodeSpec(text, member.Size())
	if err != nil {
		return err
	}
	backend, err := cpu.New(spec.Threads)
	if err != nil {
		return err
	}
	defer backend.Close()
	part, compiled, err := compileRank(spec, member.Rank(), backend)
	if err != nil {
		return err
	}
	limitHeap(compiled, part)
	wire, routes, err := member.Transport(ctx, comm.TransportOptions{Plane: comm.Plane(spec.Config.Collectives), Timeout: exchangeTimeout})
	if err != nil {
		return err
	}
	defer wire.Close()
	defer func() {
		// Say why before the others find this worker gone.
		if err != nil && ctx.Err() == nil {
			err = errors.Join(err, member.Fail(context.Background(), err))
		}
	}()
	if err := reportRoutes(member, routes); err != nil {
		return err
	}
	transport := &metered{Transport: wire}
	w, err := program.NewComm(transport, part)
	if err != nil {
		return err
	}
	r, err := newRank(ctx, spec, member.Rank(), part, compiled, w)
	if err != nil {
		return err
	}
	defer r.close()
	m := &meter{machine: r.machine, transport: transport, pipeline: spec.Plan.PP > 1}
	where := &locator{machine: r.machine, transport: wire}
	member.Answer(where.describe)
	return (&loop{rank: r, member: member, meter: m, where: where}).run(ctx)
}

// reportRoutes has rank 0 say what carries tensors: all ranks know the same.
func reportRoutes(m *comm.Member, r comm.Routes) error {
	if m.Rank() != 0 || m.Size() == 1 {
		return nil
	}
	text, err := json.Marshal(routesReport{Text: r.String(), Notes: r.Notes})
	if err != nil {
		return err
	}
	return m.Report(eventRoutes, text)
}

// loop takes the steps of a worker and reports them.
type loop struct {
	*rank
	member *comm.Member
	meter  *meter
	where  *locator
}

func (l *loop) report(kind string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return l.member.Report(kind, text)
}

// finish reports what must not be lost.
func (l *loop) finish(ctx context.Context, kind string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return l.member.ReportAck(ctx, kind, text)
}

// run takes all steps, or fewer if asked to stop.
func (l *loop) run(ctx context.Context) error {
	c := l.spec.Config
	last := l.spec.Start
	for step := l.spec.Start; step < c.Steps; step++ {
		l.where.enter(&doingTraining, step+1)
		l.meter.begin()
		start := time.Now()
		stats, err := l.step(ctx, step)
		if err != nil {
			return err
		}
		last = step + 1
		if err := l.report(eventStep, l.stepReport(last, stats, time.Since(start))); err != nil {
			return err
		}
		stop, err := l.agree(ctx, l.asked())
		if err != nil {
			return err
		}
		if err := l.after(ctx, last, stop); err != nil {
			return err
		}
		if stop {
			break
		}
	}
	return l.finish(ctx, eventDone, doneReport{last})
}

func (l *loop) stepReport(step int, s exec.Stats, took time.Duration) stepReport {
	return stepReport{
		Step: step, Loss: s.Loss, GradNorm: s.GradNorm, LR: l.spec.Config.learningRate(step - 1),
		Seconds: took.Seconds(), PeakBytes: l.peak, exchanged: l.meter.end(),
	}
}

// asked reports whether the coordinator has asked to stop.
func (l *loop) asked() bool {
	for {
		select {
		case c, ok := <-l.member.Commands():
			if !ok || c.Kind == commandStop {
				return true
			}
		default:
			return false
		}
	}
}

// after evaluates and saves where the step calls for it.
func (l *loop) after(ctx context.Context, step int, stop bool) error {
	c := l.spec.Config
	if l.spec.Trial {
		return nil
	}
	end := stop || step == c.Steps
	if l.data.ValBatches() > 0 && (step == c.Steps || c.EvalEvery > 0 && step%c.EvalEvery == 0) {
		l.where.enter(&doingEvaluation, step)
		loss, err := l.evaluate(ctx, step)
		if err != nil {
			return err
		}
		if err := l.report(eventVal, valReport{step, loss}); err != nil {
			return err
		}
	}
	if !end && c.SnapshotEvery > 0 && step%c.SnapshotEvery == 0 {
		l.where.enter(&doingSnapshot, step)
		acknowledged := func() error { return l.finish(ctx, eventSnapshot, doneReport{step}) }
		if err := l.snapshot(step, acknowledged); err != nil {
			return fmt.Errorf("writing the snapshot of step %d: %w", step, err)
		}
	}
	if !end && (c.SaveEvery == 0 || step%c.SaveEvery != 0) {
		return nil
	}
	l.where.enter(&doingSave, step)
	saved, err := l.save(step)
	if err != nil {
		return fmt.Errorf("saving the checkpoint of step %d: %w", step, err)
	}
	return l.finish(ctx, eventSaved, saved)
}
