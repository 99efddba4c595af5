package comm

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// shmLink carries frames to and from one peer through two rings of shared memory.
// Whoever waits for a frame takes in what has come, for itself and for others, so
// that tensors go from the ring straight to where they belong; what nobody waits
// for stays in the ring, and the peer queues what finds no room.
type shmLink struct {
	hub     *shmHub
	peer    int
	in, out *shmRing
	memory  [2][]byte // what in and out lie over
	bell    int       // of the peer

	writing sync.Mutex
	left    bool        // the peer has said bye; guarded by the hub's lead
	gone    bool        // memory is not mapped any more; guarded by writing, and for in by the hub's lead
	want    atomic.Bool // the ring was full; resume when the bell rings
}

// frames implements link: the ring holds the sender back.
func (l *shmLink) frames() (bytes, window int) { return l.hub.t.out.chunk, 1 << 30 }

// credit implements link.
func (l *shmLink) credit(uint32, int) {}

// write implements wire.
func (l *shmLink) write(h *header, payload []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.gone {
		return ErrClosed
	}
	if h.kind == kindBye {
		l.out.closed.Store(1) // there may be no room for more
		l.wake()
		return nil
	}
	if l.in.closed.Load() != 0 {
		return &PeerError{Rank: l.peer, Cause: fmt.Errorf("it has closed its transport: %w", ErrClosed)}
	}
	h.sum = fastsum(payload)
	if !l.out.put(h, payload) {
		l.want.Store(true)
		l.out.waiting.Store(1)
		if !l.out.put(h, payload) {
			return errFull
		}
	}
	l.wake()
	return nil
}

// wake rings for a reader that sleeps.
func (l *shmLink) wake() {
	if l.out.sleeping.Load() != 0 && l.out.sleeping.CompareAndSwap(1, 0) {
		ringBell(l.bell)
	}
}

// poll takes in all frames that are there, and reports whether there were any.
// The caller leads.
func (l *shmLink) poll(until *inEdge) (some bool, err error) {
	for !l.gone {
		bye := l.in.closed.Load() != 0
		h, payload, size, ok, err := l.in.peek()
		if err == nil && ok && int(h.src) != l.peer {
			err = fmt.Errorf("frame from rank %d", h.src)
		}
		if err != nil {
			return some, &CorruptError{Kind: BadHeader, Rank: l.hub.t.rank, Peer: l.peer, Detail: err.Error() + " (shared memory)"}
		}
		if !ok && bye && !l.left {
			l.left = true
			l.hub.t.leave(l.peer)
			return true, nil
		}
		if !ok {
			return some, nil
		}
		if err := l.hub.t.inspect(&h); err != nil {
			return some, err
		}
		if fastsum(payload) != h.sum {
			return some, &CorruptError{Kind: BadChecksum, Rank: l.hub.t.rank, Peer: l.peer, Tag: h.tag(), Detail: fmt.Sprintf("%d bytes in shared memory", len(payload))}
		}
		if h.kind == kindData {
			err = l.hub.t.deliver(chunk{header: h, data: payload, lent: true, intact: true})
		} else {
			err = l.hub.t.sort(&h, nil)
		}
		if err != nil {
			return some, err
		}
		some = true
		l.in.take(size)
		if l.in.waiting.Load() != 0 && l.in.roomy() && l.in.waiting.CompareAndSwap(1, 0) {
			ringBell(l.bell)
		}
		if len(until.ready) > 0 {
			return some, nil
		}
	}
	return some, nil
}

// run implements link: the hub listens for all links.
func (l *shmLink) run() { l.hub.listening.Do(func() { l.hub.t.pumped.Go(l.hub.listen) }) }

// finish implements link: the rings stay until the peer has read them.
func (l *shmLink) finish() {}

// close implements link: it gives memory and bell back once nobody uses them.
func (l *shmLink) close() {
	l.hub.lead <- struct{}{}
	defer func() { <-l.hub.lead }()
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.gone {
		return
	}
	l.gone = true
	for _, m := range l.memory {
		if m != nil {
			unmapSegment(m)
		}
	}
	closeBell(l.bell)
	if l.hub.open--; l.hub.open == 0 {
		_ = l.hub.bell.Close() // ends listen
		if !l.hub.adopted {
			l.hub.arena.close()
		}
	}
}

// shmHub joins the links of a rank: one bell wakes it, whoever rings.
type shmHub struct {
	t         *natsTransport
	links     []*shmLink
	byPeer    []*shmLink
	bell      *os.File
	rung      chan struct{} // fires when the bell has rung
	lead      chan struct{} // holds a token while somebody takes in frames
	listening sync.Once
	arena     *arena
	adopted   bool          // the transport has the arena, and closes it
	groups    []*arenaGroup // that want to be woken; guarded by grouping
	grouping  sync.Mutex
	never     inEdge // nothing comes on it
	open      int    // links that are; guarded by lead
	spins     time.Duration
}

// spinFor is how long one who waits looks for frames before it sleeps: about what
// waking it takes. Where ranks share processors it would keep them from the others.
const spinFor = 30 * time.Microsecond

func newShmHub(t *natsTransport) *shmHub {
	h := &shmHub{t: t, byPeer: make([]*shmLink, t.size), rung: make(chan struct{}, 1), lead: make(chan struct{}, 1)}
	h.never.ready = make(chan struct{}, 1)
	if t.size <= runtime.NumCPU() {
		h.spins = spinFor
	}
	return h
}

// listen wakes who waits for frames, and the outbox where there is room again.
func (h *shmHub) listen() {
	rings := make([]byte, 256)
	for {
		if _, err := h.bell.Read(rings); err != nil {
			return // closed
		}
		notify(h.rung)
		h.grouping.Lock()
		for _, g := range h.groups {
			notify(g.awake)
		}
		h.grouping.Unlock()
		for _, l := range h.links {
			if l.want.Swap(false) {
				h.t.out.resume(l.peer)
			}
		}
	}
}

// wait returns when e.ready fires. It takes in frames unless somebody does.
func (h *shmHub) wait(ctx context.Context, e *inEdge) error {
	if h.byPeer[e.peer] == nil {
		return e.await(ctx, e.ready)
	}
	select {
	case h.lead <- struct{}{}:
	default:
		// Somebody leads: that one delivers to this edge too, or ends.
		if first, err := e.race(ctx, e.ready, nil, h.lead); err != nil || first != leads {
			return err
		}
	}
	defer func() { <-h.lead }()
	return h.take(ctx, e)
}

// take takes in frames until e.ready fires. The caller leads.
func (h *shmHub) take(ctx context.Context, e *inEdge) error {
	start := time.Now()
	for spin := 1; ; spin++ {
		some, err := h.pollAll(e)
		if err != nil {
			return err
		}
		select {
		case <-e.ready:
			return nil
		default:
		}
		switch {
		case some:
			start = time.Now()
		case h.spins == 0 || spin%64 == 0 && time.Since(start) > h.spins:
			if ready, err := h.sleep(ctx, e); ready || err != nil {
				return err
			}
			start = time.Now()
		case spin%16 == 0:
			if h.t.life.Err() != nil {
				return context.Cause(h.t.life)
			}
			runtime.Gosched()
		}
	}
}

func (h *shmHub) pollAll(e *inEdge) (some bool, err error) {
	for _, l := range h.links {
		s, err := l.poll(e)
		if err != nil {
			return false, err
		}
		some = some || s
	}
	return some, nil
}

// sleep waits for the bell or e.ready, unless a frame has come meanwhile.
func (h *shmHub) sleep(ctx context.Context, e *inEdge) (ready bool, err error) {
	if h.links[0].gone {
		return false, ErrClosed
	}
	h.drowse()
	for _, l := range h.links {
		if l.in.pending() || !l.left && l.in.closed.Load() != 0 {
			return false, nil
		}
	}
	first, err := e.race(ctx, e.ready, h.rung, nil)
	return first == isReady, err
}

// drowse has peers ring the bell for frames. The caller leads.
func (h *shmHub) drowse() {
	for _, l := range h.links {
		if !l.gone {
			l.in.sleeping.Store(1)
		}
	}
}

// tryDrowse is drowse unless somebody leads, who takes in frames anyway.
func (h *shmHub) tryDrowse() {
	select {
	case h.lead <- struct{}{}:
		h.drowse()
		<-h.lead
	default:
	}
}

// ring wakes a peer.
func (h *shmHub) ring(peer int) {
	l := h.byPeer[peer]
	l.writing.Lock()
	defer l.writing.Unlock()
	if !l.gone {
		ringBell(l.bell)
	}
}

// addGroup has a group woken by the bell.
func (h *shmHub) addGroup(g *arenaGroup) {
	h.grouping.Lock()
	defer h.grouping.Unlock()
	h.groups = append(h.groups, g)
}

// astray reports whether one of ranks has sent a frame on an edge that nobody
// receives on.
func (h *shmHub) astray(edge uint32, ranks []int) bool {
	select {
	case h.lead <- struct{}{}:
		_, err := h.pollAll(&h.never)
		<-h.lead
		if err != nil {
			h.t.abort(err)
			return false // the wait that follows returns why
		}
	default: // somebody takes in frames
	}
	for _, r := range ranks {
		if r == h.t.rank {
			continue
		}
		e := h.t.edge(r, edge)
		e.mu.Lock()
		n := e.queue.len()
		e.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}
