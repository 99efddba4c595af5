package comm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// wire carries frames to one peer, in order.
type wire interface {
	// write sends a frame; the payload may be reused afterwards. h.sum is for the
	// wire to set. A wire that has no room returns errFull at once, and has the
	// outbox resumed when there is some.
	write(h *header, payload []byte) error
}

// errFull says that a wire takes no frame now.
var errFull = errors.New("comm: the wire is full")

// outbox is the sending half of a transport between processes. A frame goes out
// at once, on the goroutine of the sender, while its edge has credits and its
// wire has room; the frames beyond wait in the edge's queue for the pump, one
// goroutine that serves all edges in turn. So Send never waits for the receiver,
// and an edge without credits holds up no other.
type outbox struct {
	life    context.Context
	rank    int
	epoch   uint32
	chunk   int // payload bytes of a frame
	window  int // credits of a new edge
	limit   int // tensors an edge may queue
	timeout time.Duration
	wires   []wire // by rank

	mu      sync.Mutex
	wake    sync.Cond // something is ready, nothing is queued, or over
	edges   map[edgeKey]*outEdge
	ready   fifo[*outEdge] // edges with both frames and credits
	queued  int            // frames in all queues
	resumes []int          // of each wire, how often it had room again
	over    bool
}

// outEdge is the sending end of an edge.
type outEdge struct {
	waiter
	dst     int
	chunk   int           // payload bytes of a frame
	sending sync.Mutex    // keeps the tensors of an edge in order
	room    chan struct{} // fires when a queued tensor has gone
	seq     uint32        // of the next tensor; guarded by sending
	marked  uint32        // seq of the last mark; guarded by sending

	// guarded by outbox.mu
	credits int
	window  int // the credits of an edge without frames on the way
	queue   fifo[*frame]
	tensors int  // whose last frame is in the queue
	listed  bool // in outbox.ready
	pumping bool // the pump writes the first frame of the queue
	full    bool // the wire had no room
	resumes int  // of the wire, when it was last written to
}

func newOutbox(life context.Context, rank int, epoch uint32, o TransportOptions, wires []wire) *outbox {
	b := &outbox{
		life: life, rank: rank, epoch: epoch, chunk: o.Chunk, window: o.Window, limit: o.Queue, timeout: o.Timeout,
		wires: wires, resumes: make([]int, len(wires)), edges: map[edgeKey]*outEdge{},
	}
	b.wake.L = &b.mu
	return b
}

func (b *outbox) edge(dst int, id uint32) *outEdge {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := edgeKey{dst, id}
	e := b.edges[k]
	if e == nil {
		e = &outEdge{waiter: waiter{life: b.life, timeout: b.timeout}, dst: dst, room: make(chan struct{}, 1), chunk: b.chunk, credits: b.window}
		if l, ok := b.wires[dst].(link); ok {
			e.chunk, e.credits = l.frames()
		}
		e.window = e.credits
		b.edges[k] = e
	}
	return e
}

// frames is the number of frames of chunk bytes that x takes.
func frames(x []byte, chunk int) int { return max(1, (len(x)+chunk-1)/chunk) }

// fits refuses tensors of more frames than a header can count, and messages that are
// larger than a receiver takes.
func (b *outbox) fits(tag Tag, d DType, x []byte) error {
	if d == Bytes && len(x) > maxMessage {
		return fmt.Errorf("comm: %v: a message of %d bytes, at most %d are taken: send it in parts", tag, len(x), maxMessage)
	}
	if frames(x, b.chunk) > maxChunks {
		return fmt.Errorf("comm: %v of %d bytes is more than %d frames of %d bytes: send it in parts", tag, len(x), maxChunks, b.chunk)
	}
	return nil
}

// send cuts x into frames and queues or publishes them.
func (b *outbox) send(ctx context.Context, dst int, tag Tag, d DType, x []byte) error {
	e := b.edge(dst, tag.Edge)
	chunks := frames(x, e.chunk)
	e.sending.Lock()
	defer e.sending.Unlock()
	if err := b.makeRoom(ctx, e, tag); err != nil {
		return err
	}
	h := header{kind: kindData, dtype: d, op: tag.Op, src: uint16(b.rank), dst: uint16(dst), edge: tag.Edge, epoch: b.epoch,
		micro: tag.Micro, step: tag.Step, seq: e.seq, chunks: uint16(chunks), total: uint64(len(x))}
	for i := range chunks {
		h.chunk, h.offset = uint16(i), uint64(i*e.chunk)
		part := x[:min(len(x), e.chunk)]
		x = x[len(part):]
		if err := b.put(e, &h, part); err != nil {
			return err
		}
	}
	e.seq++
	return nil
}

// put writes a frame now if its edge has credits and nothing before it waits,
// and queues a copy otherwise.
func (b *outbox) put(e *outEdge, h *header, payload []byte) error {
	b.mu.Lock()
	if e.credits > 0 && e.queue.len() == 0 {
		e.credits--
		e.resumes = b.resumes[e.dst]
		b.mu.Unlock()
		err := b.wires[e.dst].write(h, payload)
		if !errors.Is(err, errFull) {
			return err
		}
		b.mu.Lock()
		e.credits++
		e.full = e.resumes == b.resumes[e.dst]
	}
	defer b.mu.Unlock()
	f := newFrame(len(payload))
	copy(f.payload(), payload)
	f.header = *h
	e.queue.push(f)
	b.queued++
	if h.last() {
		e.tensors++
	}
	b.schedule(e)
	return nil
}

// makeRoom waits until the edge may queue another tensor.
func (b *outbox) makeRoom(ctx context.Context, e *outEdge, tag Tag) error {
	var since time.Time
	for {
		if b.life.Err() != nil {
			return context.Cause(b.life)
		}
		b.mu.Lock()
		full := e.tensors >= b.limit
		b.mu.Unlock()
		if !full {
			return nil
		}
		if since.IsZero() {
			since = time.Now()
		}
		e.record.begin("send", e.dst, tag, since)
		err := e.await(ctx, e.room)
		e.record.end()
		if err != nil {
			return explain(err, "send", b.rank, e.dst, tag, since)
		}
	}
}

// grant gives an edge n credits back, at most as many as it has used.
func (b *outbox) grant(dst int, id uint32, n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.edges[edgeKey{dst, id}]
	if e == nil || n > e.window-e.credits {
		return &CorruptError{Kind: Overrun, Rank: b.rank, Peer: dst, Tag: Tag{Edge: id},
			Detail: fmt.Sprintf("%d credits for frames that were not sent", n)}
	}
	e.credits += n
	b.schedule(e)
	return nil
}

// resume has frames to dst written that its wire had no room for.
func (b *outbox) resume(dst int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.resumes[dst]++
	for _, e := range b.edges {
		if e.dst == dst && e.full {
			e.full = false
			b.schedule(e)
		}
	}
}

// schedule lists an edge for the pump if it can go on. The caller holds b.mu.
func (b *outbox) schedule(e *outEdge) {
	if e.queue.len() > 0 && e.credits > 0 && !e.full && !e.listed && !e.pumping {
		e.listed = true
		b.ready.push(e)
		b.wake.Broadcast()
	}
}

// pump writes queued frames until the outbox is over. It returns the first
// error.
func (b *outbox) pump() error {
	for {
		e, f := b.pick()
		if e == nil {
			return nil
		}
		err := b.wires[e.dst].write(&f.header, f.payload())
		b.done(e, f, errors.Is(err, errFull))
		if err != nil && !errors.Is(err, errFull) {
			return err
		}
	}
}

// pick waits for an edge that can go on and returns its next frame, which stays
// queued, or nil if the outbox is over. It takes the credit of the frame: the
// peer may give it back before done.
func (b *outbox) pick() (*outEdge, *frame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if b.over {
			return nil, nil
		}
		if e, ok := b.ready.pop(); ok {
			e.listed, e.pumping = false, true
			e.credits--
			e.resumes = b.resumes[e.dst]
			return e, e.queue.peek()
		}
		b.wake.Wait()
	}
}

// done ends the turn of an edge whose frame f was written, unless the wire was
// full.
func (b *outbox) done(e *outEdge, f *frame, full bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.pumping = false
	if full {
		e.credits++
		e.full = e.resumes == b.resumes[e.dst]
		b.schedule(e)
		return
	}
	e.queue.pop()
	if b.queued--; b.queued == 0 {
		b.wake.Broadcast()
	}
	if f.header.last() {
		e.tensors--
		notify(e.room)
	}
	f.free()
	b.schedule(e)
}

// drain waits until nothing is queued or the outbox is over.
func (b *outbox) drain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.queued > 0 && !b.over {
		b.wake.Wait()
	}
}

// stop ends the pump and all who wait for the outbox.
func (b *outbox) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	b.wake.Broadcast()
}
