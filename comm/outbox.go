package comm

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// outbox is the sending half of the NATS transport. A frame goes out at once, on
// the goroutine of the sender, while its edge has credits; the frames beyond
// wait in the edge's queue for the pump, one goroutine that serves all edges in
// turn. So Send never waits for the receiver, and an edge without credits holds
// up no other.
type outbox struct {
	life    context.Context
	rank    int
	epoch   uint32
	chunk   int // payload bytes of a frame
	window  int // credits of a new edge
	limit   int // tensors an edge may queue
	timeout time.Duration
	publish func(dst int, frame []byte) error

	mu     sync.Mutex
	wake   sync.Cond // something is ready, nothing is queued, or over
	edges  map[edgeKey]*outEdge
	ready  fifo[*outEdge] // edges with both frames and credits
	queued int            // frames in all queues or in the hands of the pump
	over   bool
}

// outEdge is the sending end of an edge.
type outEdge struct {
	waiter
	dst     int
	sending sync.Mutex    // keeps the tensors of an edge in order
	room    chan struct{} // fires when a queued tensor has gone
	seq     uint32        // of the next tensor; guarded by sending

	// guarded by outbox.mu
	credits int
	queue   fifo[*frame]
	tensors int  // whose last frame is in the queue
	listed  bool // in outbox.ready
	pumping bool // the pump holds a frame of this edge
}

func newOutbox(life context.Context, rank int, epoch uint32, o TransportOptions, publish func(int, []byte) error) *outbox {
	b := &outbox{
		life: life, rank: rank, epoch: epoch, chunk: o.Chunk, window: o.Window, limit: o.Queue, timeout: o.Timeout,
		publish: publish, edges: map[edgeKey]*outEdge{},
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
		e = &outEdge{waiter: waiter{life: b.life, timeout: b.timeout}, dst: dst, room: make(chan struct{}, 1), credits: b.window}
		b.edges[k] = e
	}
	return e
}

// chunks is the number of frames that x takes.
func (b *outbox) chunks(x []byte) int { return max(1, (len(x)+b.chunk-1)/b.chunk) }

// fits refuses tensors of more frames than a header can count.
func (b *outbox) fits(tag Tag, x []byte) error {
	if b.chunks(x) > maxChunks {
		return fmt.Errorf("comm: %v of %d bytes is more than %d frames of %d bytes: send it in parts", tag, len(x), maxChunks, b.chunk)
	}
	return nil
}

// send cuts x into frames and queues or publishes them.
func (b *outbox) send(ctx context.Context, dst int, tag Tag, d DType, x []byte) error {
	chunks := b.chunks(x)
	e := b.edge(dst, tag.Edge)
	e.sending.Lock()
	defer e.sending.Unlock()
	if err := b.makeRoom(ctx, e, tag); err != nil {
		return err
	}
	h := header{kind: kindData, dtype: d, op: tag.Op, src: uint16(b.rank), dst: uint16(dst), edge: tag.Edge, epoch: b.epoch,
		micro: tag.Micro, step: tag.Step, seq: e.seq, chunks: uint16(chunks), total: uint64(len(x))}
	for i := range chunks {
		h.chunk, h.offset = uint16(i), uint64(i*b.chunk)
		f := newFrame(min(len(x), b.chunk))
		copy(f.payload(), x)
		x = x[len(f.payload()):]
		h.sum = checksum(f.payload())
		h.put(f.buf)
		f.last = h.last()
		if err := b.put(e, f); err != nil {
			return err
		}
	}
	e.seq++
	return nil
}

// put publishes a frame now if its edge has credits and nothing before it
// waits, and queues it otherwise.
func (b *outbox) put(e *outEdge, f *frame) error {
	b.mu.Lock()
	if e.credits > 0 && e.queue.len() == 0 && !e.pumping {
		e.credits--
		b.mu.Unlock()
		defer f.free()
		return b.publish(e.dst, f.buf)
	}
	defer b.mu.Unlock()
	e.queue.push(f)
	b.queued++
	if f.last {
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
		if err := e.await(ctx, e.room); err != nil {
			return explain(err, "send", b.rank, e.dst, tag, since)
		}
	}
}

// grant gives an edge n credits back, at most as many as it has used.
func (b *outbox) grant(dst int, id uint32, n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.edges[edgeKey{dst, id}]
	if e == nil || n > b.window-e.credits {
		return &CorruptError{Kind: Overrun, Rank: b.rank, Peer: dst, Tag: Tag{Edge: id},
			Detail: fmt.Sprintf("%d credits for frames that were not sent", n)}
	}
	e.credits += n
	b.schedule(e)
	return nil
}

// schedule lists an edge for the pump if it can go on. The caller holds b.mu.
func (b *outbox) schedule(e *outEdge) {
	if e.queue.len() > 0 && e.credits > 0 && !e.listed && !e.pumping {
		e.listed = true
		b.ready.push(e)
		b.wake.Broadcast()
	}
}

// pump publishes queued frames until the outbox is over. It returns the first
// error.
func (b *outbox) pump() error {
	for {
		e, f := b.pick()
		if e == nil {
			return nil
		}
		err := b.publish(e.dst, f.buf)
		b.done(e, f)
		if err != nil {
			return err
		}
	}
}

// pick waits for an edge that can go on and takes its next frame, or returns
// nil if the outbox is over.
func (b *outbox) pick() (*outEdge, *frame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if b.over {
			return nil, nil
		}
		if e, ok := b.ready.pop(); ok {
			f, _ := e.queue.pop()
			e.credits--
			e.listed, e.pumping = false, true
			return e, f
		}
		b.wake.Wait()
	}
}

// done ends the turn of an edge whose frame f was published.
func (b *outbox) done(e *outEdge, f *frame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.pumping = false
	if b.queued--; b.queued == 0 {
		b.wake.Broadcast()
	}
	if f.last {
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
