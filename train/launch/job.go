package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/galvani-ml/galvani/comm"
)

const (
	// joinTimeout bounds how long a process takes to start and join.
	joinTimeout = 30 * time.Second
	// crashTimeout is how long a failed job waits for a process whose crash
	// may be the reason.
	crashTimeout = 500 * time.Millisecond
	// reportTimeout is how long the report of a worker that has exited may be
	// on its way.
	reportTimeout = 100 * time.Millisecond
	// endTimeout is how long workers may take to end by themselves.
	endTimeout = 1500 * time.Millisecond
	// failedTimeout is the same for a job that has failed: what its workers hold
	// is worth nothing.
	failedTimeout = 300 * time.Millisecond
)

// Options say what job to start.
type Options struct {
	Kind    string // names the workers' [Service]
	NATS    string // URL of a server; empty to start one
	Workers int
	Version string   // of this program
	Job     comm.Job // the next epoch of a job that failed; zero for a new job
	Watch   Watch
	// Advice is what a person can do where the machine ran out of memory, as
	// "use a smaller --micro-batch".
	Advice string
}

// Job is a job under way, seen from the coordinator.
type Job struct {
	opt       Options
	hub       *hub
	processes []*process
	exits     chan *process
	ended     int       // processes that have, taken from exits
	begun     bool      // workers were at work, in this epoch or in one before
	noticed   time.Time // when it failed
}

// Start starts the workers and gives each the spec, in JSON. The job is to be
// closed.
func Start(ctx context.Context, o Options, spec any) (_ *Job, err error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	j := &Job{opt: o, exits: make(chan *process, o.Workers)}
	if o.Job == (comm.Job{}) {
		j.opt.Job = comm.NewJob()
	}
	j.begun = j.opt.Job.Epoch > 1
	if j.hub, err = openHub(ctx, o.NATS, o.Workers, o.Version, j.opt.Job); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			j.Close()
		}
	}()
	if err := j.startProcesses(); err != nil {
		return nil, err
	}
	if err := j.handOut(ctx, spec); err != nil {
		return nil, j.cause(err)
	}
	j.begun = true
	return j, nil
}

func (j *Job) startProcesses() error {
	for rank := range j.opt.Workers {
		text, err := json.Marshal(invite{Server: j.hub.endpoint, Job: j.hub.job, Rank: rank, Version: j.opt.Version})
		if err != nil {
			return err
		}
		p, err := startProcess(rank, text, j.opt.Advice)
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
func (j *Job) handOut(ctx context.Context, spec any) error {
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
	if _, err := j.hub.coordinator.WaitJoined(ctx); err != nil {
		return err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if text, err = json.Marshal(assignment{j.opt.Kind, text}); err != nil {
		return err
	}
	return j.hub.coordinator.Distribute(ctx, func(int) []byte { return text })
}

// Follow hands all events to handle until it has said of one event of each
// worker that this was the worker's last. When ctx ends it calls interrupted
// once, and goes on unless that gives an error. Errors name the reason nearest
// the root: a worker process that was killed or crashed explains what the others
// report. Events that came before the failure are handed on all the same.
func (j *Job) Follow(ctx context.Context, handle func(comm.Event) (last bool, err error), interrupted func() error) error {
	err := j.follow(ctx.Done(), handle, interrupted)
	if err == nil {
		return nil
	}
	err = j.cause(err)
	for e := range j.hub.coordinator.Events() {
		if _, late := handle(e); late != nil {
			break // the first error counts
		}
	}
	return err
}

func (j *Job) follow(stop <-chan struct{}, handle func(comm.Event) (bool, error), interrupted func() error) error {
	quiet := newIdleTimer(j.opt.Watch.Idle)
	defer quiet.timer.Stop()
	for done := 0; done < j.opt.Workers; {
		select {
		case <-quiet.timer.C:
			j.survey(Idle)
			quiet.reset()
		case <-j.opt.Watch.Ask:
			j.survey(Asked)
		case e, ok := <-j.hub.coordinator.Events():
			if !ok {
				return j.hub.coordinator.Err()
			}
			quiet.reset()
			last, err := handle(e)
			if err != nil {
				return fmt.Errorf("event %s of worker %d: %w", e.Kind, e.Rank, err)
			}
			if last {
				done++
			}
		case p := <-j.exits:
			j.ended++
			if err := p.exit(); err != nil {
				return err
			}
		case <-stop:
			if err := interrupted(); err != nil {
				return err
			}
			stop = nil
		}
	}
	return nil
}

// Ask sends all workers a command, which they may take up to limit to
// acknowledge: else the job fails.
func (j *Job) Ask(kind string, limit time.Duration) {
	go func() {
		end, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := j.hub.coordinator.Broadcast(end, kind, nil); err != nil {
			j.hub.coordinator.Abort(err)
		}
	}()
}

// cause ends the job, and finds the most telling reason for its failure.
func (j *Job) cause(err error) error {
	j.noticed = time.Now()
	exit, exited := errors.AsType[*ExitError](err)
	if exited && !exit.crashed() {
		err = j.reported(exit)
	}
	j.hub.coordinator.Abort(err)
	j.bearWitness(err)
	// A crash explains itself; a worker that falls silent has not crashed, since
	// that would have been seen before its lease ended.
	if !exited && !errors.As(err, new(*comm.LeaseError)) {
		if crash := j.firstCrash(crashTimeout); crash != nil {
			return crash
		}
	}
	if peer, ok := errors.AsType[*comm.PeerError](err); ok {
		return &WorkerError{peer}
	}
	return err
}

// reported is what a worker that exited has said before, or else that it exited.
func (j *Job) reported(exit *ExitError) error {
	select {
	case <-j.hub.coordinator.Done():
		return j.hub.coordinator.Err()
	case <-time.After(reportTimeout):
		exit.silent = j.begun
		return exit
	}
}

// Noticed is when the job failed: what [Follow] returns may be known later.
func (j *Job) Noticed() time.Time { return j.noticed }

// firstCrash waits for the processes to end, for at most limit, and returns the
// first that did so by no decision of its own.
func (j *Job) firstCrash(limit time.Duration) *ExitError {
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

// Close lets the workers end, kills those that do not, and ends the
// communication.
func (j *Job) Close() {
	grace := endTimeout
	if !j.noticed.IsZero() {
		grace = failedTimeout
	}
	var all sync.WaitGroup
	for _, p := range j.processes {
		all.Go(func() { p.stop(grace) })
	}
	all.Wait()
	j.hub.close()
}
