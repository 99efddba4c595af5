package comm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// AnyRank asks the coordinator for whichever rank is free.
const AnyRank = -1

// JoinOptions says which job to join and as whom.
type JoinOptions struct {
	Job     Job
	Rank    int    // or [AnyRank]
	Version string // must be the coordinator's
}

// Command is an instruction of the coordinator to all workers.
type Command struct {
	Kind string
	Data []byte
}

// Member is a worker's place in a job. When the coordinator aborts the job or
// falls silent, the session of the member ends with an [AbortError] or a
// [LeaseError], and with it the transports on that session.
type Member struct {
	session *Session
	job     Job
	id      string
	rank    int
	size    int
	leases  Leases
	life    context.Context
	end     context.CancelCauseFunc
	subs    subscriptions
	running sync.WaitGroup

	specs    *nats.Subscription
	commands chan Command

	describe atomic.Pointer[func() json.RawMessage] // see Answer

	mu    sync.Mutex
	lease lease // the coordinator's

	reports sync.Mutex // keeps reports in the order of their numbers
	seq     uint64
}

// Join asks the coordinator for admission until ctx ends: the coordinator may
// start later than its workers.
func Join(ctx context.Context, s *Session, o JoinOptions) (*Member, error) {
	if err := o.Job.check(); err != nil {
		return nil, err
	}
	id := NewJob().ID
	m := &Member{session: s, job: o.Job, id: id, subs: subscriptions{s: s}, commands: make(chan Command, 16)}
	m.life, m.end = context.WithCancelCause(s.life)
	// Listen first: what the coordinator says after it admits us must not be lost.
	commands, err := m.subs.queue(o.Job.subject("cmd", "*"))
	specs, err2 := m.subs.queue(o.Job.subject("spec", id))
	m.specs = specs
	err = cmp.Or(err, err2,
		m.subs.on(o.Job.subject("beat"), m.onBeat),
		m.subs.on(o.Job.subject("abort"), m.onAbort),
		m.subs.flush(ctx))
	if err == nil {
		err = m.apply(ctx, o)
	}
	if err != nil {
		m.end(err)
		m.subs.close()
		return nil, err
	}
	m.running.Go(func() { m.obey(commands) })
	m.running.Go(m.watch)
	return m, nil
}

// apply repeats the request to join until it is answered.
func (m *Member) apply(ctx context.Context, o JoinOptions) error {
	ctx, cancel := within(ctx, m.life)
	defer cancel()
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	req, err := json.Marshal(joinRequest{m.id, Worker{Rank: o.Rank, Host: host, PID: os.Getpid(), Version: o.Version}})
	if err != nil {
		return err
	}
	for {
		try, done := context.WithTimeout(ctx, 500*time.Millisecond)
		msg, err := m.session.control.RequestWithContext(try, o.Job.subject("join"), req)
		done()
		if err == nil {
			return m.admitted(msg.Data)
		}
		if ctx.Err() == nil && (errors.Is(err, nats.ErrNoResponders) || try.Err() != nil) {
			wait(ctx, 50*time.Millisecond)
		} else if ctx.Err() == nil {
			return m.session.connError(fmt.Errorf("joining: %w", err))
		}
		if ctx.Err() != nil {
			return fmt.Errorf("comm: no coordinator of job %s epoch %d at %v admits this worker: %w", o.Job.ID, o.Job.Epoch, m.session.endpoint, context.Cause(ctx))
		}
	}
}

// wait sleeps unless ctx ends first.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// admitted reads the coordinator's answer.
func (m *Member) admitted(b []byte) error {
	r, err := decodeReply(b)
	if err != nil {
		return err
	}
	m.rank, m.size, m.leases = r.Rank, r.Size, r.Leases
	m.mu.Lock()
	m.lease = r.Leases.lease()
	m.mu.Unlock()
	return nil
}

// maxLease bounds leases, so that sums of them stay durations.
const maxLease = 24 * time.Hour

// decodeReply reads the coordinator's answer to a request to join.
func decodeReply(b []byte) (joinReply, error) {
	var r joinReply
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("comm: answer of the coordinator: %w", err)
	}
	if r.Error != "" {
		return r, errors.New("comm: the coordinator refused this worker: " + shortened(r.Error))
	}
	if r.Leases.Beat < minBeat || r.Leases.Limit < r.Leases.Beat || r.Leases.Limit > maxLease || r.Rank < 0 || r.Rank >= r.Size || r.Size > maxRanks {
		return r, fmt.Errorf("comm: answer of the coordinator makes no sense: %s", shortened(string(b)))
	}
	return r, nil
}

// Rank is the rank that the coordinator assigned.
func (m *Member) Rank() int { return m.rank }

// Size is the number of workers of the job.
func (m *Member) Size() int { return m.size }

// Transport connects this worker to the others. All call it.
func (m *Member) Transport(ctx context.Context, o TransportOptions) (Transport, Routes, error) {
	return Connect(ctx, m.session, m.job, m.rank, m.size, o)
}

// Spec waits for the job spec that the coordinator distributes.
func (m *Member) Spec(ctx context.Context) ([]byte, error) {
	ctx, cancel := within(ctx, m.life)
	defer cancel()
	msg, err := m.specs.NextMsgWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("comm: rank %d waits for its job spec: %w", m.rank, because(ctx, err))
	}
	m.acknowledge(msg)
	return msg.Data, nil
}

func (m *Member) onBeat(*nats.Msg) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lease.renew()
}

func (m *Member) onAbort(msg *nats.Msg) {
	f := decodeFailure(msg.Data, -1)
	m.session.fail(&AbortError{Rank: f.Rank, Reason: f.Reason})
}

// acknowledge answers with the rank of this worker.
func (m *Member) acknowledge(msg *nats.Msg) {
	if err := msg.Respond([]byte(strconv.Itoa(m.rank))); err != nil {
		m.session.fail(m.session.connError(fmt.Errorf("answering the coordinator: %w", err)))
	}
}

// Commands gives the coordinator's commands in order. It is closed when the
// session has ended or Close was called; Err then tells which.
func (m *Member) Commands() <-chan Command { return m.commands }

// obey moves commands from the subscription to the channel.
func (m *Member) obey(sub *nats.Subscription) {
	defer close(m.commands)
	for {
		msg, err := sub.NextMsgWithContext(m.life)
		if err != nil {
			if m.life.Err() == nil {
				m.session.fail(m.session.connError(fmt.Errorf("waiting for commands: %w", err)))
			}
			return
		}
		if tail(msg.Subject, 1)[0] == kindWhere {
			m.answer(msg)
			continue
		}
		select {
		case m.commands <- Command{Kind: tail(msg.Subject, 1)[0], Data: msg.Data}:
			m.acknowledge(msg)
		case <-m.life.Done():
			return
		}
	}
}

// watch sends this worker's heartbeats and checks the coordinator's lease.
func (m *Member) watch() {
	t := time.NewTicker(m.leases.Beat)
	defer t.Stop()
	subject := m.job.subject("hb", strconv.Itoa(m.rank))
	for last := time.Now(); ; {
		if err := m.session.control.Publish(subject, []byte(m.id)); err != nil {
			m.session.fail(m.session.connError(fmt.Errorf("sending a heartbeat: %w", err)))
		}
		select {
		case <-m.life.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		m.mu.Lock()
		alive := m.lease.tick(now.Sub(last))
		silent := m.lease.silent
		m.mu.Unlock()
		if !alive {
			m.session.fail(&LeaseError{Who: "coordinator", Silent: silent, Lease: m.leases.Limit})
		}
		last = now
	}
}
