package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/train/launch"
	"github.com/galvani-ml/galvani/train/program"
)

// job is a run under way, seen from the coordinator.
type job struct {
	*setup
	spec     *Spec
	progress *progress
	planned  []program.Planned // of each stage
	version  string

	name    comm.Job  // the epoch that is under way
	first   origin    // of the run
	begun   bool      // workers have been at work
	noticed time.Time // when the last epoch failed

	snapshots *snapshots // nil without --snapshot-every

	asked <-chan os.Signal // for what the workers are at
	idle  []comm.Answer    // when nothing was heard of for a while

	metrics    *metricsFile
	steps      map[int][]stepReport  // of steps that not all workers have reported
	saves      map[int][]savedReport // of checkpoints that not all workers have saved
	seconds    []float64             // of each step
	stragglers *stragglers
	last       *Metrics // held back for the validation loss of its step
	result     Result
}

// run trains in as many epochs as it takes: it starts the workers, follows them
// to the end, and where they fail starts others, see [job.restart].
func (j *job) run(ctx context.Context) (_ *Result, err error) {
	j.result.Out, j.result.Memory = j.spec.Out, newMemory(j.planned)
	asked, stop := reportSignal()
	defer stop()
	j.asked = asked
	j.name, j.first = comm.NewJob(), origin{step: j.spec.Start, weights: j.spec.Weights, moments: j.spec.Moments, what: "the start"}
	if j.spec.Config.SnapshotEvery > 0 {
		if j.snapshots, err = newSnapshots(j.spec.Config.Workers); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, j.snapshots.close()) }()
		j.spec.Snapshots = j.snapshots.paths()
	}
	for {
		err := j.epoch(ctx)
		if err == nil {
			return &j.result, nil
		}
		done, err := j.restart(ctx, err)
		if err != nil {
			return nil, err
		}
		if done {
			return &j.result, nil
		}
	}
}

// epoch is one life of the workers. Where it fails, it has ended them all.
func (j *job) epoch(ctx context.Context) (err error) {
	j.stragglers = newStragglers(j.spec.Config.Workers, j.spec.Plan.PP)
	j.idle = nil
	j.steps, j.saves = map[int][]stepReport{}, map[int][]savedReport{}
	path := j.spec.Config.Metrics
	if path == "" {
		path = filepath.Join(j.spec.Out, metricsName)
	}
	if j.metrics, err = openMetrics(path, j.spec.Start); err != nil {
		return fmt.Errorf("--metrics: %w", err)
	}
	defer func() { err = errors.Join(err, j.metrics.close()) }()
	defer func() {
		if err != nil { // a step held back is of no less worth for what came after
			err = errors.Join(err, j.flushMetrics())
		}
	}()
	workers, err := launch.Start(ctx, j.launch(), j.spec)
	if err != nil {
		j.noticed = time.Now()
		return err
	}
	j.begun = true
	defer workers.Close()
	err = workers.Follow(ctx, j.handle, func() error { return j.interrupted(ctx, workers) })
	if err != nil {
		j.noticed = workers.Noticed()
		return err
	}
	return j.flushMetrics()
}

// launch says what job the workers are started for.
func (j *job) launch() launch.Options {
	return launch.Options{
		Kind: jobKind, NATS: j.spec.Config.NATS, Workers: j.spec.Config.Workers, Version: j.version, Job: j.name,
		Advice: "use a smaller --micro-batch",
		Watch:  launch.Watch{Idle: j.spec.Config.HangTimeout, Ask: j.asked, Report: j.surveyed},
	}
}

// interrupted asks the workers to save and stop, which they do between steps; a
// trial ends at once.
func (j *job) interrupted(ctx context.Context, workers *launch.Job) error {
	if j.spec.Trial {
		return context.Cause(ctx)
	}
	j.progress.fact("stopping", "saving after this step; press Ctrl-C again to give up at once")
	workers.Ask(commandStop, exchangeTimeout)
	return nil
}

// handle takes in one event, and tells whether it is the worker's last.
func (j *job) handle(e comm.Event) (last bool, err error) {
	switch e.Kind {
	case eventRoutes:
		var r routesReport
		if err := decodeReport(e.Data, j.spec.Config.Steps, &r); err != nil {
			return false, err
		}
		j.progress.fact("data plane", "%s", r.Text)
		for _, note := range r.Notes {
			j.progress.fact("", "%s", note)
		}
		return false, nil
	case eventStep:
		var r stepReport
		if err := decodeReport(e.Data, j.spec.Config.Steps, &r); err != nil {
			return false, err
		}
		r.Rank = e.Rank
		j.result.Memory.measured(e.Rank*j.spec.Plan.PP/j.spec.Config.Workers, r.PeakBytes)
		return false, j.stepped(r)
	case eventVal:
		var r valReport
		if err := decodeReport(e.Data, j.spec.Config.Steps, &r); err != nil {
			return false, err
		}
		return false, j.evaluated(r)
	case eventSaved:
		var r savedReport
		if err := decodeReport(e.Data, j.spec.Config.Steps, &r); err != nil {
			return false, err
		}
		return false, j.saved(r)
	case eventSnapshot:
		return false, nil
	case eventDone:
		return true, nil
	}
	return false, errors.New("unknown kind")
}

// stepped shows a step once all workers have reported it.
func (j *job) stepped(r stepReport) error {
	all := append(j.steps[r.Step], r)
	if j.steps[r.Step] = all; len(all) < j.spec.Config.Workers {
		return nil
	}
	delete(j.steps, r.Step)
	if err := j.flushMetrics(); err != nil {
		return err
	}
	tokens := int64(j.spec.Config.Batch * j.spec.Config.Seq)
	m := Metrics{
		Step: r.Step, Loss: r.Loss, GradNorm: r.GradNorm, LR: r.LR,
		Tokens: int64(r.Step) * tokens, PlannedBytes: j.result.Memory.PlannedBytes, Planned: largest(j.planned),
	}
	for _, w := range all {
		m.Seconds = max(m.Seconds, w.Seconds)
		m.PeakBytes = max(m.PeakBytes, w.PeakBytes)
	}
	e := meanOf(all)
	m.CommunicationSeconds, m.WaitSeconds, m.SentBytes = e.CommunicationSeconds, e.WaitSeconds, e.SentBytes
	m.TokensPerSecond = float64(tokens) / m.Seconds
	m.TFLOPS = m.TokensPerSecond * models.FLOPsPerToken(j.model, j.spec.Config.Seq) / 1e12
	j.last = &m
	j.seconds = append(j.seconds, m.Seconds)
	j.result.Step, j.result.Loss, j.result.Tokens = m.Step, m.Loss, m.Tokens
	j.progress.step(m)
	j.restarted(m.Step)
	j.compare(all)
	if m.Step == j.spec.Config.RecordStep {
		j.progress.fact("recorded", "step %d of worker %d; check it with: galvani replay %s", m.Step, j.spec.Config.RecordRank,
			recordPath(j.spec.Out, m.Step, j.spec.Config.RecordRank))
	}
	return nil
}

// compare names workers that are persistently slower than others.
func (j *job) compare(all []stepReport) {
	seconds := make([]float64, len(all))
	for _, r := range all {
		seconds[r.Rank] = r.computed()
	}
	for _, line := range j.stragglers.add(seconds) {
		j.progress.fact("straggler", "%s", line)
	}
}

// evaluated adds a validation loss to its step. Every worker reports the same.
func (j *job) evaluated(r valReport) error {
	if j.last == nil || j.last.Step != r.Step || j.last.ValLoss != nil {
		return nil
	}
	j.last.ValLoss, j.result.ValLoss = &r.Loss, &r.Loss
	j.progress.fact("evaluated", "after step %d: validation loss %.4f", r.Step, r.Loss)
	return nil
}

// flushMetrics writes the step held back.
func (j *job) flushMetrics() error {
	if j.last == nil {
		return nil
	}
	m := *j.last
	j.last = nil
	return j.metrics.write(m)
}

// saved completes a checkpoint once all workers have saved their part.
func (j *job) saved(r savedReport) error {
	all := append(j.saves[r.Step], r)
	if j.saves[r.Step] = all; len(all) < j.spec.Config.Workers {
		return nil
	}
	delete(j.saves, r.Step)
	m := Manifest{
		Step: r.Step, Tokens: int64(r.Step) * int64(j.spec.Config.Batch*j.spec.Config.Seq),
		Seed: j.spec.Config.Seed, Plan: j.plan.String(),
	}
	dir, err := completeCheckpoint(j.spec.Out, m, j.model, j.tokenizer, all)
	if err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", r.Step, err)
	}
	j.result.Checkpoint = dir
	j.progress.fact("saved", "%s", dir)
	return nil
}
