package comm

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// CoordinatorOptions describes the job to coordinate.
type CoordinatorOptions struct {
	Job     Job
	Workers int    // how many must join
	Version string // workers of another version are refused
	Leases  Leases
}

// Worker says who joined.
type Worker struct {
	Rank    int    `json:"rank"`
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	Version string `json:"version"`
}

func (w Worker) String() string {
	return fmt.Sprintf("rank %d (host %s, pid %d)", w.Rank, w.Host, w.PID)
}

// Event is something that a worker reported.
type Event struct {
	Rank int
	Kind string
	Data []byte
}

// Coordinator admits the workers of a job, watches their leases, hands out the
// job spec and commands, and collects their events. The first failure, of a
// worker, of the session or given to [Coordinator.Abort], ends the job: all
// workers are told, Events is closed, and Err says which rank and why.
type Coordinator struct {
	session *Session
	opt     CoordinatorOptions
	life    context.Context
	end     context.CancelCauseFunc
	subs    subscriptions
	running sync.WaitGroup
	events  chan Event
	all     chan struct{} // closed when all have joined
	failed  sync.Once

	mu      sync.Mutex
	members []*memberState // by rank; nil until it joined
	joined  int
	refused []error
}

// memberState is what the coordinator knows of a worker.
type memberState struct {
	Worker
	id    string
	lease lease
	left  bool
	seq   uint64 // of the last event
}

// eventBuffer is how many events may wait for the reader of Events.
const eventBuffer = 1024

// NewCoordinator starts to coordinate a job. Workers may join at once.
func NewCoordinator(ctx context.Context, s *Session, o CoordinatorOptions) (*Coordinator, error) {
	if err := o.Job.check(); err != nil {
		return nil, err
	}
	if o.Workers < 1 || o.Workers > maxRanks {
		return nil, fmt.Errorf("comm: a job of %d workers: want 1 to %d", o.Workers, maxRanks)
	}
	o.Leases = o.Leases.withDefaults()
	c := &Coordinator{
		session: s, opt: o, subs: subscriptions{s: s}, members: make([]*memberState, o.Workers),
		events: make(chan Event, eventBuffer), all: make(chan struct{}),
	}
	c.life, c.end = context.WithCancelCause(s.life)
	events, err := c.subs.queue(o.Job.subject("evt", "*", "*"))
	err = cmp.Or(err,
		c.subs.on(o.Job.subject("hb", "*"), c.onBeat),
		c.subs.on(o.Job.subject("bye"), c.onBye),
		c.subs.on(o.Job.subject("join"), c.onJoin),
		c.subs.flush(ctx))
	if err != nil {
		c.end(err)
		c.subs.close()
		return nil, err
	}
	c.running.Go(func() { c.collect(events) })
	c.running.Go(c.watch)
	return c, nil
}

// WaitJoined returns the workers by rank when all have joined.
func (c *Coordinator) WaitJoined(ctx context.Context) ([]Worker, error) {
	select {
	case <-c.all:
	case <-c.life.Done():
		return nil, context.Cause(c.life)
	case <-ctx.Done():
		return nil, c.notJoined(context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	workers := make([]Worker, len(c.members))
	for i, m := range c.members {
		workers[i] = m.Worker
	}
	return workers, nil
}

// notJoined says who is missing, and who was turned away.
func (c *Coordinator) notJoined(cause error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []int
	for rank, m := range c.members {
		if m == nil {
			missing = append(missing, rank)
		}
	}
	err := fmt.Errorf("comm: %d of %d workers joined, missing ranks %v: %w", c.joined, len(c.members), missing, cause)
	return errors.Join(append([]error{err}, c.refused...)...)
}

// onBeat renews a lease.
func (c *Coordinator) onBeat(m *nats.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.member(tail(m.Subject, 1)[0]); w != nil && w.id == string(m.Data) {
		w.lease.renew()
	}
}

// onBye lets a worker go.
func (c *Coordinator) onBye(m *nats.Msg) {
	c.mu.Lock()
	for _, w := range c.members {
		if w != nil && w.id == string(m.Data) {
			w.left = true
		}
	}
	c.mu.Unlock()
	_ = m.Respond(nil) // the worker leaves with or without it
}

// member finds a worker by the text of its rank. The caller holds c.mu.
func (c *Coordinator) member(rank string) *memberState {
	if r, ok := rankToken(rank, len(c.members)); ok {
		return c.members[r]
	}
	return nil
}

// watch sends the coordinator's heartbeats and checks the leases of the workers.
func (c *Coordinator) watch() {
	t := time.NewTicker(c.opt.Leases.Beat)
	defer t.Stop()
	subject := c.opt.Job.subject("beat")
	for last := time.Now(); ; {
		if err := c.session.control.Publish(subject, nil); err != nil {
			c.fail(c.session.connError(fmt.Errorf("sending a heartbeat: %w", err)))
		}
		select {
		case <-c.life.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		if rank, lease := c.expired(now.Sub(last)); lease != nil {
			c.witness(lease)
			c.fail(&PeerError{Rank: rank, Cause: lease})
		}
		last = now
	}
}

// expired lets time pass for all leases and returns the first that ran out.
func (c *Coordinator) expired(elapsed time.Duration) (rank int, lease *LeaseError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.members {
		if w != nil && !w.left && !w.lease.tick(elapsed) {
			return w.Rank, &LeaseError{Who: w.String(), Silent: w.lease.silent, Lease: w.lease.limit}
		}
	}
	return 0, nil
}

// Events gives what the workers report, in the order of each. It is closed when
// the job has failed or Close was called; Err then tells which.
func (c *Coordinator) Events() <-chan Event { return c.events }

// collect moves events from the subscription to the channel.
func (c *Coordinator) collect(sub *nats.Subscription) {
	defer close(c.events)
	for {
		m, err := sub.NextMsgWithContext(c.life)
		if err != nil {
			c.fail(c.session.connError(fmt.Errorf("waiting for events: %w", because(c.life, err))))
			return
		}
		ev, err := c.event(m)
		if err != nil {
			c.fail(err)
			return
		}
		select {
		case c.events <- ev:
		case <-c.life.Done():
			return
		}
		if m.Reply != "" {
			_ = m.Respond(nil) // a reporter that gets no answer reports that itself
		}
	}
}

// event decodes a report: a sequence number, so that a loss is noticed, and data.
func (c *Coordinator) event(m *nats.Msg) (Event, error) {
	t := tail(m.Subject, 2)
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.member(t[0])
	if w == nil || len(t) < 2 || len(m.Data) < 8 {
		return Event{}, fmt.Errorf("comm: event %s of %d bytes comes from no worker of this job", m.Subject, len(m.Data))
	}
	seq := binary.LittleEndian.Uint64(m.Data)
	if seq != w.seq+1 {
		return Event{}, &PeerError{Rank: w.Rank, Cause: fmt.Errorf("its event %d (%s) came after event %d: the ones between are lost", seq, t[1], w.seq)}
	}
	w.seq = seq
	ev := Event{Rank: w.Rank, Kind: t[1], Data: m.Data[8:]}
	if ev.Kind != kindErrorReport {
		return ev, nil
	}
	_ = m.Respond(nil) // the job ends with or without it
	f := decodeFailure(ev.Data, ev.Rank)
	return Event{}, &PeerError{Rank: f.Rank, Cause: &reportedError{f.Reason, f.Transient}}
}

// Abort ends the job for a reason that comm cannot see, such as the exit of a
// worker process.
func (c *Coordinator) Abort(cause error) { c.fail(cause) }

// fail ends the job with err and tells the workers, unless it has ended.
func (c *Coordinator) fail(err error) {
	c.failed.Do(func() {
		if c.life.Err() != nil {
			return
		}
		c.end(err)
		c.spread(failureOf(err, -1))
	})
}

// spread tells the workers that the job is over. It is a best effort: a worker
// that does not hear it misses the heartbeats.
func (c *Coordinator) spread(f failure) {
	if f.Rank >= 0 {
		f.Reason = "rank " + strconv.Itoa(f.Rank) + ": " + f.Reason
	}
	if b, err := json.Marshal(f); err == nil {
		_ = c.session.control.Publish(c.opt.Job.subject("abort"), b)
	}
}

// Done is closed when the job has failed or Close was called.
func (c *Coordinator) Done() <-chan struct{} { return c.life.Done() }

// Err is the first failure, [ErrClosed] after Close, nil before.
func (c *Coordinator) Err() error { return context.Cause(c.life) }

// Close stops coordinating. Workers that have not left are aborted. It returns
// the failure of the job, if there was one.
func (c *Coordinator) Close() error {
	err := context.Cause(c.life)
	if err == nil && len(c.present()) > 0 {
		c.spread(failure{Rank: -1, Reason: "it has closed the job"})
	}
	c.end(ErrClosed)
	c.subs.close()
	c.running.Wait()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}
