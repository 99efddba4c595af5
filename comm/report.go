package comm

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Report sends an event to the coordinator without waiting. kind is a word such
// as "metric"; "error" is kept for [Member.Fail]. A report that gets lost is
// noticed at the next.
func (m *Member) Report(kind string, data []byte) error {
	if kind == kindErrorReport {
		return fmt.Errorf("comm: report of kind %q: use Fail", kind)
	}
	return m.report(kind, "", data)
}

// ReportAck sends an event and returns when the coordinator has queued it. It is
// for what must not be lost: "saved", "done".
func (m *Member) ReportAck(ctx context.Context, kind string, data []byte) error {
	if kind == kindErrorReport {
		return fmt.Errorf("comm: report of kind %q: use Fail", kind)
	}
	return m.reportAck(ctx, kind, data)
}

// Fail tells the coordinator that this worker cannot go on, which ends the job.
// Where cause holds a [PeerError], the blame goes to that peer. It returns when
// the coordinator knows, at once if the session has ended already.
func (m *Member) Fail(ctx context.Context, cause error) error {
	b, err := json.Marshal(failureOf(cause, m.rank))
	if err != nil {
		return err
	}
	return m.reportAck(ctx, kindErrorReport, b)
}

func (m *Member) reportAck(ctx context.Context, kind string, data []byte) error {
	ctx, cancel := soon(ctx, m.life)
	defer cancel()
	inbox := nats.NewInbox()
	sub, err := m.session.control.SubscribeSync(inbox)
	if err != nil {
		return m.session.connError(err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only if the connection is gone
	if err := m.report(kind, inbox, data); err != nil {
		return err
	}
	if _, err := sub.NextMsgWithContext(ctx); err != nil {
		return fmt.Errorf("comm: rank %d: the coordinator has not acknowledged %q: %w", m.rank, kind, because(ctx, err))
	}
	return nil
}

// report publishes the next event of this worker.
func (m *Member) report(kind, reply string, data []byte) error {
	if err := checkToken("kind of report", kind); err != nil {
		return err
	}
	if m.life.Err() != nil {
		return context.Cause(m.life)
	}
	m.reports.Lock()
	defer m.reports.Unlock()
	b := make([]byte, 8, 8+len(data))
	binary.LittleEndian.PutUint64(b, m.seq+1)
	subject := m.job.subject("evt", strconv.Itoa(m.rank), kind)
	if err := m.session.control.PublishRequest(subject, reply, append(b, data...)); err != nil {
		return m.session.connError(fmt.Errorf("reporting %q: %w", kind, err))
	}
	m.seq++
	return nil
}

// Done is closed when the member's session has ended or Close was called.
func (m *Member) Done() <-chan struct{} { return m.life.Done() }

// Err tells why the session ended: [AbortError], [LeaseError], [ConnError], or
// [ErrClosed] after Close; nil while the job goes on.
func (m *Member) Err() error { return context.Cause(m.life) }

// Close leaves the job in peace: the coordinator no longer expects heartbeats.
// It returns the error that ended the session, if one did. The session itself
// stays open.
func (m *Member) Close() error {
	err := context.Cause(m.life)
	if err == nil {
		ctx, cancel := context.WithTimeout(m.life, time.Second)
		// An unanswered bye is no failure: the coordinator may be gone by now.
		_, _ = m.session.control.RequestWithContext(ctx, m.job.subject("bye"), []byte(m.id))
		cancel()
	}
	m.end(ErrClosed)
	m.subs.close()
	m.running.Wait()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}
