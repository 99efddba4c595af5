package comm

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// inbox is the receiving half of every transport. The transport delivers frames
// in the order of arrival; Recv, RecvAdd and RecvBytes take tensors out. Where a
// receiver waits already, frames go straight into its tensor.
type inbox struct {
	rank, size int
	life       context.Context
	fail       func(error) // ends the transport; the first error counts
	timeout    time.Duration
	backlog    int                                        // bytes per edge that may wait here before credits stop
	quantum    int                                        // frames per credit message
	window     func(src int) int                          // frames of an edge that a peer may send without credit; with credit only
	credit     func(src int, edge uint32, n int)          // hands n credits back; nil where there are none
	lead       func(ctx context.Context, e *inEdge) error // waits in place of await; may be nil
	mu         sync.Mutex                                 // guards what follows
	edges      map[edgeKey]*inEdge
	gone       []bool // peers that said bye
}

// edgeKey names one direction of an edge, seen from this rank.
type edgeKey struct {
	peer int
	edge uint32
}

// chunk is a frame that arrived.
type chunk struct {
	header
	data   []byte
	own    *frame // to free after use; nil if data belongs to the garbage collector
	lent   bool   // data is the transport's, until deliver returns
	placed bool   // data is in the tensor already, where claim said
	intact bool   // the transport has checked data
}

// inEdge queues the chunks of one edge. One goroutine receives from it.
type inEdge struct {
	waiter
	peer  int
	ready chan struct{} // fires when a chunk or a bye has come
	taken chan struct{} // fires when a chunk was taken out

	mu    sync.Mutex
	queue fifo[chunk]
	post  *post  // of the receiver that waits; the queue is empty then
	bytes int    // queued
	owed  int    // frames that arrived and were not credited yet
	seq   uint32 // tensor and chunk expected next
	chunk uint16
	own   post // where a receiver keeps its post
	busy  bool // the transport fills what claim returned
	idle  sync.Cond
}

// A peer that minds its credits has at most a window of frames under way. Windows
// may differ between ranks; one that sends overrun times as much minds none.
// maxEdges bounds the edges that a peer can open.
const (
	overrun  = 4
	maxEdges = 1 << 16
)

func newInbox(life context.Context, fail func(error), rank, size int, o TransportOptions) *inbox {
	return &inbox{
		rank: rank, size: size, life: life, fail: fail,
		timeout: o.Timeout, backlog: o.Backlog, quantum: max(1, o.Window/4),
		window: func(int) int { return o.Window },
		edges:  map[edgeKey]*inEdge{}, gone: make([]bool, size),
	}
}

func (b *inbox) Rank() int { return b.rank }
func (b *inbox) Size() int { return b.size }

func (b *inbox) edge(src int, id uint32) *inEdge {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := edgeKey{src, id}
	e := b.edges[k]
	if e == nil {
		e = &inEdge{
			waiter: waiter{life: b.life, timeout: b.timeout}, peer: src,
			ready: make(chan struct{}, 1), taken: make(chan struct{}, 1),
		}
		e.idle.L = &e.mu
		b.edges[k] = e
	}
	return e
}

// opened is the edge that a frame came on.
func (b *inbox) opened(h *header) (*inEdge, error) {
	b.mu.Lock()
	_, ok := b.edges[edgeKey{int(h.src), h.edge}]
	n := len(b.edges)
	b.mu.Unlock()
	if !ok && n >= maxEdges+b.size {
		return nil, &CorruptError{Kind: Overrun, Rank: b.rank, Peer: int(h.src), Tag: h.tag(), Detail: fmt.Sprintf("there are %d edges already", n)}
	}
	return b.edge(int(h.src), h.edge), nil
}

// deliver takes in the next frame of an edge. It never blocks.
func (b *inbox) deliver(c chunk) error {
	e, err := b.opened(&c.header)
	if err != nil {
		return err
	}
	e.mu.Lock()
	if err := e.follows(&c.header, b.rank); err != nil {
		e.mu.Unlock()
		return err
	}
	if b.credit != nil && e.owed/overrun >= b.window(int(c.src)) {
		e.mu.Unlock()
		return &CorruptError{Kind: Overrun, Rank: b.rank, Peer: int(c.src), Tag: c.tag(),
			Detail: fmt.Sprintf("%d frames are here that no credit was given back for", e.owed)}
	}
	ready := true
	switch {
	case e.post != nil:
		if ready = e.post.take(b, &c); ready {
			e.post = nil
		}
	case c.lent:
		c.own = newFrame(len(c.data))
		copy(c.own.payload(), c.data)
		c.data, c.lent = c.own.payload(), false
		fallthrough
	default:
		e.queue.push(c)
		e.bytes += len(c.data)
	}
	e.owed++
	n := e.settle(b)
	e.mu.Unlock()
	if ready {
		notify(e.ready)
	}
	if n > 0 {
		b.credit(int(c.src), c.edge, n)
	}
	return nil
}

// follows checks that h is the frame expected next, and expects the one after.
func (e *inEdge) follows(h *header, rank int) error {
	if h.seq == e.seq && h.chunk == e.chunk {
		if e.chunk++; h.last() {
			e.seq, e.chunk = e.seq+1, 0
		}
		return nil
	}
	what := Gap
	if d := int32(h.seq - e.seq); d < 0 || d == 0 && h.chunk < e.chunk {
		what = Duplicate
	}
	return &CorruptError{Kind: what, Rank: rank, Peer: int(h.src), Tag: h.tag(),
		Detail: fmt.Sprintf("got tensor %d chunk %d, expected tensor %d chunk %d", h.seq, h.chunk, e.seq, e.chunk)}
}

// settle returns how many credits to hand back now: all that are owed, once they
// make a quantum and the backlog is not full.
func (e *inEdge) settle(b *inbox) int {
	if b.credit == nil || e.owed < b.quantum || e.bytes > b.backlog {
		return 0
	}
	n := e.owed
	e.owed = 0
	return n
}

// leave marks a peer as closed and wakes those who wait for it.
func (b *inbox) leave(src int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone[src] = true
	for k, e := range b.edges {
		if k.peer == src {
			notify(e.ready)
		}
	}
}

func (b *inbox) left(src int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone[src] {
		return &PeerError{Rank: src, Cause: fmt.Errorf("it has closed its transport: %w", ErrClosed)}
	}
	return nil
}

// wait returns when something has happened on e.
func (b *inbox) wait(ctx context.Context, e *inEdge) error {
	if b.lead != nil {
		return b.lead(ctx, e)
	}
	return e.await(ctx, e.ready)
}

// next takes the next chunk out of e, waiting for it if need be.
func (b *inbox) next(ctx context.Context, e *inEdge, src int, tag Tag) (chunk, error) {
	var since time.Time
	for {
		if b.life.Err() != nil {
			return chunk{}, context.Cause(b.life)
		}
		left := b.left(src) // asked before the queue is: a bye follows the data
		e.mu.Lock()
		c, ok := e.queue.pop()
		e.bytes -= len(c.data)
		n := e.settle(b)
		e.mu.Unlock()
		if n > 0 {
			b.credit(src, tag.Edge, n)
		}
		switch {
		case ok:
			notify(e.taken)
			return c, nil
		case left != nil:
			return chunk{}, left
		}
		if since.IsZero() {
			since = time.Now()
		}
		e.record.begin("recv", src, tag, since)
		err := b.wait(ctx, e)
		e.record.end()
		if err != nil {
			return chunk{}, explain(err, "recv", b.rank, src, tag, since)
		}
	}
}

// mismatch tells whether c begins another tensor than the one asked for. bytes < 0
// accepts any size.
func (b *inbox) mismatch(h *header, tag Tag, d DType, bytes int) error {
	if h.tag().same(tag) && h.dtype == d && (bytes < 0 || h.total == uint64(bytes)) && h.chunk == 0 {
		return nil
	}
	return &MismatchError{Rank: b.rank, Peer: int(h.src), Want: tag, Got: h.tag(),
		WantBytes: int64(bytes), GotBytes: int64(h.total), WantType: d, GotType: h.dtype}
}

// verify checks that c is what belongs at byte at of a tensor of total bytes.
func (b *inbox) verify(c *chunk, tag Tag, at, total int) error {
	kind := BadHeader
	switch {
	case c.own == nil && !c.intact && checksum(c.data) != c.sum:
		kind = BadChecksum
	case c.offset == uint64(at) && c.total == uint64(total):
		return nil
	}
	return &CorruptError{Kind: kind, Rank: b.rank, Peer: int(c.src), Tag: tag,
		Detail: fmt.Sprintf("tensor %d chunk %d of %d, %d bytes at %d of %d", c.seq, c.chunk, c.chunks, len(c.data), c.offset, c.total)}
}

// recv receives a tensor into x, by store or, if add is set, by addition.
func (b *inbox) recv(ctx context.Context, src int, tag Tag, x []float32, add bool) error {
	if err := checkPeer(b.rank, b.size, src); err != nil {
		return err
	}
	e := b.edge(src, tag.Edge)
	p := &e.own
	*p = post{tag: tag, dtype: Float32, dst: rawBytes(x), add: add}
	err := b.fill(ctx, e, src, p)
	if err != nil {
		b.fail(err)
		e.withdraw()
	}
	p.dst = nil
	return err
}

// Recv implements [Transport].
func (b *inbox) Recv(ctx context.Context, src int, tag Tag, x []float32) error {
	return b.recv(ctx, src, tag, x, false)
}

// RecvAdd implements [Transport].
func (b *inbox) RecvAdd(ctx context.Context, src int, tag Tag, x []float32) error {
	return b.recv(ctx, src, tag, x, true)
}

// RecvBytes implements [Transport].
func (b *inbox) RecvBytes(ctx context.Context, src int, tag Tag) ([]byte, error) {
	if err := checkPeer(b.rank, b.size, src); err != nil {
		return nil, err
	}
	e := b.edge(src, tag.Edge)
	x, err := b.takeBytes(ctx, e, src, tag)
	if err != nil {
		b.fail(err)
		return nil, err
	}
	return x, nil
}

// takeBytes takes the chunks of a message out of the queue. It takes memory as they
// come, not as the first one says.
func (b *inbox) takeBytes(ctx context.Context, e *inEdge, src int, tag Tag) ([]byte, error) {
	c, err := b.next(ctx, e, src, tag)
	if err != nil {
		return nil, err
	}
	if err := b.mismatch(&c.header, tag, Bytes, -1); err != nil {
		return nil, err
	}
	if c.total > maxMessage {
		return nil, &CorruptError{Kind: Overrun, Rank: b.rank, Peer: src, Tag: tag, Detail: fmt.Sprintf("a message of %d bytes, at most %d are taken", c.total, maxMessage)}
	}
	var x []byte
	for total := int(c.total); ; {
		if err := b.verify(&c, tag, len(x), total); err != nil {
			return nil, err
		}
		x = append(x, c.data...)
		if c.own != nil {
			c.own.free()
		}
		if c.last() {
			return x, nil
		}
		if c, err = b.next(ctx, e, src, tag); err != nil {
			return nil, err
		}
	}
}
