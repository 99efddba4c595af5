package comm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// natsTransport is one rank of a transport over core NATS. All frames to a rank
// arrive on one subscription; its callback only sorts them, the goroutine that
// receives a tensor checks and copies it.
type natsTransport struct {
	*inbox
	out      *outbox
	wires    []wire // by rank
	routes   Routes
	linked   linked // what does not go over NATS
	hub      *shmHub
	arena    *arena // nil where no rank shares memory with this one
	session  *Session
	job      Job
	sub      *nats.Subscription
	subjects []string // to each rank
	end      context.CancelCauseFunc
	pumped   sync.WaitGroup
	release  func() bool // of the hook that watches the life
	aborted  sync.Once

	helloMu sync.Mutex
	missing []int         // ranks that have not said hello
	met     chan struct{} // closed when missing is empty

	// tamper, in tests, replaces each frame by what shall be published.
	tamper func(frame []byte) [][]byte
}

// Connect makes this process rank of size ranks of the job, over the planes that
// o.Plane allows. It returns when all ranks listen and agree, for at most ctx or
// the default deadline.
func Connect(ctx context.Context, s *Session, job Job, rank, size int, o TransportOptions) (Transport, Routes, error) {
	t, err := openNATS(ctx, s, job, rank, size, o, nil)
	if err != nil {
		return nil, Routes{}, err
	}
	if err := t.rendezvous(ctx, o); err != nil {
		t.abort(err)
		_ = t.Close() // returns err
		return nil, Routes{}, err
	}
	return t, t.routes, nil
}

func openNATS(ctx context.Context, s *Session, job Job, rank, size int, o TransportOptions, tamper func([]byte) [][]byte) (*natsTransport, error) {
	if err := errors.Join(job.check(), o.check(int(s.data.MaxPayload()))); err != nil {
		return nil, err
	}
	if rank < 0 || rank >= size || size > maxRanks {
		return nil, fmt.Errorf("comm: rank %d of %d ranks: ranks count from 0, sizes up to %d", rank, size, maxRanks)
	}
	if !littleEndian {
		return nil, errors.New("comm: this machine is big-endian; frames carry little-endian tensors")
	}
	o = o.withDefaults(size, int(s.data.MaxPayload()))
	t := &natsTransport{session: s, job: job, met: make(chan struct{}), tamper: tamper, routes: newRoutes(size)}
	for r := range size {
		t.subjects = append(t.subjects, job.subject("d", strconv.Itoa(r), strconv.Itoa(rank)))
		if r != rank {
			t.missing = append(t.missing, r)
		}
	}
	var life context.Context
	life, t.end = context.WithCancelCause(s.life)
	t.inbox = newInbox(life, t.abort, rank, size, o)
	t.inbox.credit, t.inbox.window = t.giveCredit, t.windowOf
	for r := range size {
		t.wires = append(t.wires, &natsWire{t, r})
	}
	t.out = newOutbox(life, rank, job.Epoch, o, t.wires)
	t.release = context.AfterFunc(life, t.out.stop)
	t.pumped.Go(func() {
		if err := t.out.pump(); err != nil {
			t.abort(err)
		}
	})
	t.linked.init(t)
	t.pumped.Go(t.marking)
	if err := t.meet(ctx); err != nil {
		t.end(err)
		t.shut()
		return nil, err
	}
	return t, nil
}

// meet subscribes and waits until every other rank has. Core NATS drops what
// nobody listens to: each rank says hello once it listens, and answers the hello
// of those who come later.
func (t *natsTransport) meet(ctx context.Context) error {
	var err error
	if t.sub, err = t.session.data.Subscribe(t.job.subject("d", strconv.Itoa(t.rank), "*"), t.handle); err != nil {
		return t.session.connError(err)
	}
	w := waiter{life: t.life, timeout: t.timeout}
	since := time.Now()
	t.meetRank(-1)
	if err := t.greet(); err != nil {
		return err
	}
	done := make(chan struct{})
	t.pumped.Go(func() { t.greetUntil(done) })
	err = w.await(ctx, t.met)
	close(done)
	if err == nil {
		return nil
	}
	missing := t.unmet()
	if errors.Is(err, context.DeadlineExceeded) && len(missing) > 0 {
		return &TimeoutError{Op: "connect", Rank: t.rank, Peer: missing[0], Waited: time.Since(since),
			Tag: Tag{Name: fmt.Sprintf("hello of ranks %v", missing)}}
	}
	return fmt.Errorf("comm: rank %d connecting to ranks %v: %w", t.rank, missing, err)
}

// greet says hello to those who have not.
func (t *natsTransport) greet() error {
	for _, peer := range t.unmet() {
		if err := t.notice(kindHello, peer, 0, 1, nil); err != nil {
			return err
		}
	}
	return nil
}

// greetUntil repeats greet: a hello may have been lost.
func (t *natsTransport) greetUntil(done <-chan struct{}) {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if err := t.greet(); err != nil {
			t.abort(err)
			return
		}
	}
}

// unmet are the ranks that have not said hello.
func (t *natsTransport) unmet() []int {
	t.helloMu.Lock()
	defer t.helloMu.Unlock()
	return slices.Clone(t.missing)
}

// meetRank notes the hello of a peer.
func (t *natsTransport) meetRank(peer int) {
	t.helloMu.Lock()
	defer t.helloMu.Unlock()
	select {
	case <-t.met:
		return
	default:
	}
	t.missing = slices.DeleteFunc(t.missing, func(r int) bool { return r == peer })
	if len(t.missing) == 0 {
		close(t.met)
	}
}

// handle sorts one frame. It runs on the goroutine of the subscription.
func (t *natsTransport) handle(m *nats.Msg) {
	h, payload, err := parseFrame(m.Data)
	if err != nil {
		err = &CorruptError{Kind: BadHeader, Rank: t.rank, Peer: -1, Detail: err.Error() + " (subject " + m.Subject + ")"}
	} else if err = t.inspect(&h); err == nil {
		err = t.sort(&h, payload)
	}
	if err != nil {
		t.abort(err)
	}
}

// inspect checks that a frame is for this rank in this life of the job.
func (t *natsTransport) inspect(h *header) error {
	peer := int(h.src)
	if h.epoch != t.job.Epoch {
		return &CorruptError{Kind: StaleEpoch, Rank: t.rank, Peer: peer, Tag: h.tag(),
			Detail: fmt.Sprintf("frame of epoch %d, this is epoch %d", h.epoch, t.job.Epoch)}
	}
	if int(h.dst) != t.rank || peer >= t.size || peer == t.rank {
		return &CorruptError{Kind: BadHeader, Rank: t.rank, Peer: peer, Tag: h.tag(),
			Detail: fmt.Sprintf("frame from rank %d to rank %d of %d ranks", h.src, h.dst, t.size)}
	}
	return nil
}

// sort does what a frame is for.
func (t *natsTransport) sort(h *header, payload []byte) error {
	peer := int(h.src)
	switch h.kind {
	case kindData:
		return t.deliver(chunk{header: *h, data: payload})
	case kindCredit:
		return t.out.grant(peer, h.edge, int(h.seq))
	case kindHello:
		t.meetRank(peer)
		if h.seq == 1 {
			return t.notice(kindHello, peer, 0, 0, nil)
		}
	case kindAbort:
		t.end(&PeerError{Rank: peer, Cause: errors.New(shortened(string(payload)))})
	case kindBye:
		t.leave(peer)
	case kindMark:
		return t.marked(h)
	}
	return nil
}

// abort ends the transport with err and tells the other ranks, unless it has
// ended already.
func (t *natsTransport) abort(err error) {
	t.aborted.Do(func() {
		if t.life.Err() != nil {
			return
		}
		t.end(err)
		text := []byte(err.Error())
		for peer := range t.size {
			if peer != t.rank {
				// Best effort: the peers have deadlines and leases too.
				_ = t.notice(kindAbort, peer, 0, 0, text[:min(len(text), 1024)])
			}
		}
	})
}

// notice sends a frame that is not a chunk over NATS.
func (t *natsTransport) notice(k kind, peer int, edge, n uint32, payload []byte) error {
	h := t.header(k, peer, edge, n)
	return (&natsWire{t, peer}).write(&h, payload)
}

// header is that of a frame that is not a chunk.
func (t *natsTransport) header(k kind, peer int, edge, n uint32) header {
	return header{kind: k, src: uint16(t.rank), dst: uint16(peer), edge: edge, epoch: t.job.Epoch, seq: n}
}

// windowOf is how many frames of an edge a peer may send without credit.
func (t *natsTransport) windowOf(src int) int {
	if l, ok := t.wires[src].(link); ok {
		_, window := l.frames()
		return window
	}
	return t.out.window
}

// giveCredit goes the way of the tensors.
func (t *natsTransport) giveCredit(src int, edge uint32, n int) {
	if l, ok := t.wires[src].(link); ok {
		l.credit(edge, n)
		return
	}
	h := t.header(kindCredit, src, edge, uint32(n))
	if err := t.wires[src].write(&h, nil); err != nil {
		t.abort(err)
	}
}

// natsWire carries frames to a peer over NATS.
type natsWire struct {
	t    *natsTransport
	peer int
}

// write hands a frame to the client library, which copies it.
func (w *natsWire) write(h *header, payload []byte) error {
	f := newFrame(len(payload))
	defer f.free()
	copy(f.payload(), payload)
	h.sum = checksum(payload)
	h.put(f.buf)
	frames := [1][]byte{f.buf}
	send := frames[:]
	if w.t.tamper != nil {
		send = w.t.tamper(f.buf)
	}
	for _, b := range send {
		if err := w.t.session.data.Publish(w.t.subjects[w.peer], b); err != nil {
			return w.t.session.connError(err)
		}
	}
	return nil
}

// Send implements [Transport].
func (t *natsTransport) Send(ctx context.Context, dst int, tag Tag, x []float32) error {
	return t.send(ctx, dst, tag, Float32, rawBytes(x))
}

// SendBytes implements [Transport].
func (t *natsTransport) SendBytes(ctx context.Context, dst int, tag Tag, x []byte) error {
	return t.send(ctx, dst, tag, Bytes, x)
}

func (t *natsTransport) send(ctx context.Context, dst int, tag Tag, d DType, x []byte) error {
	if err := checkPeer(t.rank, t.size, dst); err != nil {
		return err
	}
	if err := t.out.fits(tag, d, x); err != nil {
		return err
	}
	err := t.left(dst)
	if err == nil {
		err = t.out.send(ctx, dst, tag, d, x)
	}
	if err != nil {
		t.abort(err)
	}
	return err
}

// closeGrace is how long Close lets the peers take what is queued for them.
const closeGrace = 5 * time.Second

// Close implements [Transport].
func (t *natsTransport) Close() error {
	err := context.Cause(t.life)
	if err == nil {
		err = t.farewell()
	}
	t.end(ErrClosed)
	t.shut()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// farewell delivers what is queued, then says bye.
func (t *natsTransport) farewell() error {
	late := time.AfterFunc(closeGrace, func() {
		t.abort(fmt.Errorf("comm: rank %d closed, and its peers did not take what it had queued within %v", t.rank, closeGrace))
	})
	defer late.Stop()
	t.out.drain()
	for peer := range t.size {
		if peer != t.rank && t.left(peer) == nil {
			h := t.header(kindBye, peer, 0, 0)
			if err := t.wires[peer].write(&h, nil); err != nil && t.left(peer) == nil {
				return err
			}
		}
	}
	t.linked.finish()
	return context.Cause(t.life)
}

// shut releases what the transport holds. Its life is over.
func (t *natsTransport) shut() {
	t.release()
	t.out.stop()
	t.linked.shut()
	if t.arena != nil {
		t.arena.close() // not before: its owner may use what Alloc gave until Close
	}
	t.pumped.Wait()
	if t.sub != nil && t.session.life.Err() == nil {
		_ = t.sub.Unsubscribe() // fails only if the connection is gone, and the subscription with it
	}
}
