package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/models"
)

const (
	// crashTimeout is how long a failed job waits for a process whose crash
	// may be the reason.
	crashTimeout = 500 * time.Millisecond
	// endTimeout is how long workers may take to end by themselves. With a
	// lease of 2 s before it, a job ends within 5 s of any failure.
	endTimeout = 1500 * time.Millisecond
)

// job is a run under way, seen from the coordinator.
type job struct {
	*setup
	spec     *Spec
	progress *progress
	planned  []Planned // of each stage
	version  string

	processes []*process
	exits     chan *process
	metrics   *metricsFile
	steps     map[int][]stepReport  // of steps that not all workers have reported
	saves     map[int][]savedReport // of checkpoints that not all workers have saved
	last      *Metrics              // held back for the validation loss of its step
	done      int                   // workers that are
	ended     int                   // processes that have, taken from exits
	result    Result
}

// run starts the workers and follows them to the end.
func (j *job) run(ctx context.Context) (_ *Result, err error) {
	workers := j.spec.Config.Workers
	j.steps, j.saves, j.exits = map[int][]stepReport{}, map[int][]savedReport{}, make(chan *process, workers)
	j.result.Out, j.result.Memory = j.spec.Out, newMemory(j.planned)
	path := j.spec.Config.Metrics
	if path == "" {
		path = filepath.Join(j.spec.Out, metricsName)
	}
	if j.metrics, err = openMetrics(path, j.spec.Start); err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	defer func() { err = errors.Join(err, j.metrics.close()) }()
	start, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	h, err := openHub(start, j.spec.Config.NATS, workers, j.version)
	if err != nil {
		return nil, err
	}
	defer h.close()
	defer j.endProcesses()
	if err := j.startProcesses(h); err != nil {
		return nil, err
	}
	if err := j.handOut(start, h.coordinator); err != nil {
		return nil, j.cause(h.coordinator, err)
	}
	if err := j.follow(ctx, h.coordinator); err != nil {
		return nil, j.cause(h.coordinator, err)
	}
	return &j.result, nil
}

func (j *job) startProcesses(h *hub) error {
	for rank := range j.spec.Config.Workers {
		text, err := json.Marshal(invite{Server: h.endpoint, Job: h.job, Rank: rank, Version: j.version})
		if err != nil {
			return err
		}
		p, err := startProcess(rank, text)
		if err != nil {
			return err
		}
		j.processes = append(j.processes, p)
		go func() {
			<-p.done
			j.exits <- p
		}()
	}
	return nil
}

// handOut waits for all workers and gives them the spec. A worker that ends
// before is an error at once.
func (j *job) handOut(ctx context.Context, c *comm.Coordinator) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	joined := make(chan struct{})
	defer close(joined)
	go func() {
		select {
		case p := <-j.exits:
			cancel(p.unexpected())
			j.exits <- p // for firstCrash
		case <-joined:
		}
	}()
	if _, err := c.WaitJoined(ctx); err != nil {
		return err
	}
	text, err := json.Marshal(j.spec)
	if err != nil {
		return err
	}
	return c.Distribute(ctx, func(int) []byte { return text })
}

// follow handles events until every worker is done.
func (j *job) follow(ctx context.Context, c *comm.Coordinator) error {
	stop := ctx.Done()
	for j.done < j.spec.Config.Workers {
		select {
		case e, ok := <-c.Events():
			if !ok {
				return c.Err()
			}
			if err := j.handle(e); err != nil {
				return fmt.Errorf("event %s of worker %d: %w", e.Kind, e.Rank, err)
			}
		case p := <-j.exits:
			j.ended++
			if err := p.exit(); err != nil {
				return err
			}
		case <-stop:
			if j.spec.Trial {
				return context.Cause(ctx)
			}
			stop = nil
			j.progress.fact("stopping", "saving after this step; press Ctrl-C again to give up at once")
			go func() { // workers answer between steps
				end, cancel := context.WithTimeout(context.Background(), exchangeTimeout)
				defer cancel()
				if err := c.Broadcast(end, commandStop, nil); err != nil {
					c.Abort(err)
				}
			}()
		}
	}
	return j.flushMetrics()
}

// handle takes in one event.
func (j *job) handle(e comm.Event) error {
	switch e.Kind {
	case eventRoutes:
		var r routesReport
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return err
		}
		j.progress.fact("data plane", "%s", r.Text)
		for _, note := range r.Notes {
			j.progress.fact("", "%s", note)
		}
		return nil
	case eventStep:
		var r stepReport
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return err
		}
		j.result.Memory.measured(e.Rank*j.spec.Plan.PP/j.spec.Config.Workers, r.PeakBytes)
		return j.stepped(r)
	case eventVal:
		var r valReport
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return err
		}
		return j.evaluated(r)
	case eventSaved:
		var r savedReport
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return err
		}
		return j.saved(r)
	case eventDone:
		j.done++
		return nil
	}
	return errors.New("unknown kind")
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
	j.result.Step, j.result.Loss, j.result.Tokens = m.Step, m.Loss, m.Tokens
	j.progress.step(m)
	if m.Step == j.spec.Config.RecordStep {
		j.progress.fact("recorded", "step %d of worker %d; check it with: galvani replay %s", m.Step, j.spec.Config.RecordRank,
			recordPath(j.spec.Out, m.Step, j.spec.Config.RecordRank))
	}
	return nil
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

// cause finds the most telling reason for a failure: a worker process that was
// killed or crashed explains what the others report.
func (j *job) cause(c *comm.Coordinator, err error) error {
	c.Abort(err)
	if exit := j.firstCrash(crashTimeout); exit != nil {
		return exit
	}
	var peer *comm.PeerError
	if errors.As(err, &peer) {
		return fmt.Errorf("worker %d: %w", peer.Rank, peer.Cause)
	}
	return err
}

// firstCrash waits for the processes to end, for at most limit, and returns the
// first that did so by no decision of its own.
func (j *job) firstCrash(limit time.Duration) *ExitError {
	deadline := time.After(limit)
	for ; j.ended < len(j.processes); j.ended++ {
		select {
		case p := <-j.exits:
			var exit *ExitError
			if errors.As(p.exit(), &exit) && exit.crashed() {
				return exit
			}
		case <-deadline:
			return nil
		}
	}
	return nil
}

// endProcesses lets the workers end, and kills those that do not.
func (j *job) endProcesses() {
	var all sync.WaitGroup
	for _, p := range j.processes {
		all.Go(func() { p.stop(endTimeout) })
	}
	all.Wait()
}

// crashed reports whether the process ended by no decision of its own.
func (e *ExitError) crashed() bool {
	const panicked = 2 // exit code of the Go run time
	return e.Signal != 0 && e.Signal != syscall.SIGTERM || e.Code == panicked
}

// unexpected describes a process that ended before it had anything to do.
func (p *process) unexpected() error {
	if err := p.exit(); err != nil {
		return err
	}
	return fmt.Errorf("worker %d (pid %d) ended before the job began", p.rank, p.pid())
}
