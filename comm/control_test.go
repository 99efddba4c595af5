package comm

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// crew is a coordinator with its workers, each on a session of its own.
type crew struct {
	*Coordinator
	sessions []*Session
	members  []*Member
}

func newCrew(t testing.TB, n int, l Leases) *crew {
	t.Helper()
	e := startServer(t).Endpoint()
	job, ctx := NewJob(), testContext(t)
	c, err := NewCoordinator(ctx, dial(t, e), CoordinatorOptions{Job: job, Workers: n, Version: "v1", Leases: l})
	if err != nil {
		t.Fatal(err)
	}
	w := &crew{Coordinator: c, sessions: dialAll(t, e, n), members: make([]*Member, n)}
	onAll(t, n, func(i int) error {
		m, err := Join(ctx, w.sessions[i], JoinOptions{Job: job, Rank: i, Version: "v1"})
		w.members[i] = m
		return err
	})
	t.Cleanup(func() {
		each(n, func(i int) error { return w.members[i].Close() })
		c.Close()
	})
	return w
}

func TestJob(t *testing.T) {
	w := newCrew(t, 3, Leases{})
	ctx := testContext(t)
	workers, err := w.WaitJoined(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for rank, wk := range workers {
		if wk.Rank != rank || wk.PID == 0 || wk.Version != "v1" || w.members[rank].Rank() != rank || w.members[rank].Size() != 3 {
			t.Errorf("worker %d is %v", rank, wk)
		}
	}
	spec := func(rank int) []byte { return bytes.Repeat([]byte{byte(rank)}, 1<<20) }
	onAll(t, 4, func(i int) error {
		if i == 3 {
			return w.Distribute(ctx, spec)
		}
		return workThrough(ctx, w.members[i], spec(i))
	})
	for range 9 {
		ev := <-w.Events()
		if string(ev.Data) != "data" || !slices.Contains([]string{"metric", "saved"}, ev.Kind) {
			t.Fatalf("event %+v", ev)
		}
	}
	if err := w.Broadcast(ctx, "stop", []byte("now")); err != nil {
		t.Fatal(err)
	}
	onAll(t, 3, func(rank int) error {
		if c := <-w.members[rank].Commands(); c.Kind != "stop" || string(c.Data) != "now" {
			return errors.New("command " + c.Kind)
		}
		return w.members[rank].Close()
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, open := <-w.Events(); open || !errors.Is(w.Err(), ErrClosed) {
		t.Fatal("events after the end", w.Err())
	}
}

// workThrough is a worker's part of TestJob.
func workThrough(ctx context.Context, m *Member, want []byte) error {
	got, err := m.Spec(ctx)
	if err != nil || !bytes.Equal(got, want) {
		return errors.Join(err, errors.New("wrong spec"))
	}
	tr, _, err := m.Transport(ctx, TransportOptions{})
	if err != nil {
		return err
	}
	g, err := NewGroup(tr, 0, every(m.Size()))
	if err != nil {
		return err
	}
	if err := g.Barrier(ctx, "start"); err != nil {
		return err
	}
	return errors.Join(m.Report("metric", []byte("data")), m.Report("metric", []byte("data")),
		m.ReportAck(ctx, "saved", []byte("data")), tr.Close())
}

func TestJoinLate(t *testing.T) {
	e := startServer(t).Endpoint()
	job, ctx := NewJob(), testContext(t)
	sessions := dialAll(t, e, 3)
	onAll(t, 3, func(i int) error {
		if i < 2 { // workers first
			m, err := Join(ctx, sessions[i], JoinOptions{Job: job, Rank: AnyRank})
			if err == nil {
				<-m.Done()
				m.Close()
			}
			return err
		}
		time.Sleep(20 * time.Millisecond)
		c, err := NewCoordinator(ctx, sessions[2], CoordinatorOptions{Job: job, Workers: 2})
		if err != nil {
			return err
		}
		_, err = c.WaitJoined(ctx)
		return errors.Join(err, c.Broadcast(ctx, "go", nil), c.Close()) // Close aborts the workers
	})
	for _, s := range sessions[:2] {
		wantAs[*AbortError](t, s.Err())
	}
}

func TestJoinRefused(t *testing.T) {
	e := startServer(t).Endpoint()
	job, ctx := NewJob(), testContext(t)
	c, err := NewCoordinator(ctx, dial(t, e), CoordinatorOptions{Job: job, Workers: 2, Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	first, err := Join(ctx, dial(t, e), JoinOptions{Job: job, Rank: 1, Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for want, o := range map[string]JoinOptions{
		"version":      {Job: job, Rank: 0, Version: "v2"},
		"taken":        {Job: job, Rank: 1, Version: "v1"},
		"ranks 0 to 1": {Job: job, Rank: 2, Version: "v1"},
	} {
		if _, err := Join(ctx, dial(t, e), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err = c.WaitJoined(short)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "missing ranks [0]") || !strings.Contains(err.Error(), "v2") {
		t.Errorf("%v", err)
	}
	if _, err := Join(short, dial(t, e), JoinOptions{Job: NewJob()}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no coordinator: %v", err)
	}
}

func TestWorkerReportsFailure(t *testing.T) {
	w := newCrew(t, 2, Leases{})
	tr := make([]Transport, 2)
	onAll(t, 2, func(i int) (err error) {
		tr[i], _, err = w.members[i].Transport(testContext(t), TransportOptions{})
		return err
	})
	waiting := make(chan error)
	go func() { waiting <- tr[0].Recv(context.Background(), 1, Tag{}, make([]float32, 1)) }()
	if err := w.members[1].Fail(testContext(t), errors.New("out of memory")); err != nil {
		t.Fatal(err)
	}
	for range w.Events() {
	}
	if e := wantAs[*PeerError](t, w.Err()); e.Rank != 1 || e.Cause.Error() != "out of memory" {
		t.Fatal(e)
	}
	for _, err := range []error{<-waiting, <-afterDone(w.members[0]), <-afterDone(w.members[1])} {
		if e := wantAs[*AbortError](t, err); e.Rank != 1 || !strings.Contains(e.Error(), "out of memory") {
			t.Fatal(e)
		}
	}
	if _, open := <-w.members[0].Commands(); open {
		t.Fatal("commands after the abort")
	}
	for _, x := range tr {
		x.Close()
	}
}

func afterDone(m *Member) <-chan error {
	c := make(chan error, 1)
	<-m.Done()
	c <- m.Err()
	return c
}

// The blame goes to the rank that failed first, whoever reports it.
func TestBlame(t *testing.T) {
	w := newCrew(t, 2, Leases{})
	err := w.members[0].Fail(testContext(t), &PeerError{Rank: 1, Cause: errors.New("disk full")})
	if err != nil {
		t.Fatal(err)
	}
	<-w.Done()
	if e := wantAs[*PeerError](t, w.Err()); e.Rank != 1 {
		t.Fatal(e)
	}
}

func TestAbort(t *testing.T) {
	w := newCrew(t, 2, Leases{})
	w.Abort(errors.New("interrupted"))
	for _, m := range w.members {
		if e := wantAs[*AbortError](t, <-afterDone(m)); e.Rank != -1 || !strings.Contains(e.Error(), "interrupted") {
			t.Fatal(e)
		}
	}
}

func TestSilentWorker(t *testing.T) {
	w := newCrew(t, 2, Leases{Beat: 20 * time.Millisecond, Limit: 500 * time.Millisecond})
	// A worker that vanishes without a word.
	w.sessions[1].data.Close()
	w.sessions[1].control.Close()
	<-w.Done()
	if e := wantAs[*PeerError](t, w.Err()); e.Rank != 1 {
		t.Fatal(e)
	}
	wantAs[*LeaseError](t, w.Err())
	wantAs[*AbortError](t, <-afterDone(w.members[0]))
}

func TestSilentCoordinator(t *testing.T) {
	w := newCrew(t, 1, Leases{Beat: 20 * time.Millisecond, Limit: 500 * time.Millisecond})
	w.session.control.Close()
	wantAs[*LeaseError](t, <-afterDone(w.members[0]))
}

func TestLeaseCountsOwnTimeOnly(t *testing.T) {
	l := Leases{}.withDefaults().lease()
	if !l.tick(time.Hour) { // this process was suspended, not the other
		t.Fatal("expired by a suspension of its own")
	}
	for l.tick(l.beat) {
	}
	if l.silent < l.limit || l.silent > l.limit+l.beat {
		t.Fatalf("expired after %v", l.silent)
	}
	l.renew()
	if !l.tick(l.beat) {
		t.Fatal("expired in spite of a heartbeat")
	}
}

func TestSpecTooBig(t *testing.T) {
	w := newCrew(t, 1, Leases{})
	err := w.Distribute(testContext(t), func(int) []byte { return make([]byte, MaxPayload+1) })
	if err == nil || !strings.Contains(err.Error(), "max_payload") {
		t.Fatal(err)
	}
}

func TestLostEvent(t *testing.T) {
	w := newCrew(t, 1, Leases{})
	w.members[0].seq++ // as if one had got lost
	if err := w.members[0].Report("metric", nil); err != nil {
		t.Fatal(err)
	}
	<-w.Done()
	if e := wantAs[*PeerError](t, w.Err()); !strings.Contains(e.Error(), "lost") {
		t.Fatal(e)
	}
}

func TestBadKinds(t *testing.T) {
	w := newCrew(t, 1, Leases{})
	ctx := testContext(t)
	for _, kind := range []string{"", "a.b", "a b", "*", "error"} {
		if w.members[0].Report(kind, nil) == nil || w.members[0].ReportAck(ctx, kind, nil) == nil {
			t.Errorf("report of kind %q", kind)
		}
	}
	if w.Broadcast(ctx, ">", nil) == nil {
		t.Error("command >")
	}
}

func TestUnreadCommands(t *testing.T) {
	w := newCrew(t, 1, Leases{})
	ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond)
	defer cancel()
	for {
		if err := w.Broadcast(ctx, "tick", nil); err != nil {
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "ranks [0]") {
				t.Fatal(err)
			}
			return
		}
	}
}
