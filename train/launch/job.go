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
	// endTimeout is how long workers may take to end by themselves. With a
	// lease of 2 s before it, a job ends within 5 s of any failure.
	endTimeout = 1500 * time.Millisecond
)

// Options say what job to start.
type Options struct {
	Kind    string // names the workers' [Service]
	NATS    string // URL of a server; empty to start one
	Workers int
	Version string // of this program
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
	ended     int // processes that have, taken from exits
}

// Start starts the workers and gives each the spec, in JSON. The job is to be
// closed.
func Start(ctx context.Context, o Options, spec any) (_ *Job, err error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	j := &Job{opt: o, exits: make(chan *process, o.Workers)}
	if j.hub, err = openHub(ctx, o.NATS, o.Workers, o.Version); err != nil {
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
// report.
func (j *Job) Follow(ctx context.Context, handle func(comm.Event) (last bool, err error), interrupted func() error) error {
	if err := j.follow(ctx.Done(), handle, interrupted); err != nil {
		return j.cause(err)
	}
	return nil
}

func (j *Job) follow(stop <-chan struct{}, handle func(comm.Event) (bool, error), interrupted func() error) error {
	for done := 0; done < j.opt.Workers; {
		select {
		case e, ok := <-j.hub.coordinator.Events():
			if !ok {
				return j.hub.coordinator.Err()
			}
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
	j.hub.coordinator.Abort(err)
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
	var all sync.WaitGroup
	for _, p := range j.processes {
		all.Go(func() { p.stop(endTimeout) })
	}
	all.Wait()
	j.hub.close()
}
