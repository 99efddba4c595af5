package comm

import (
	"context"
	"time"
)

// post is a receive under way: the tensor asked for, and how much of it is there.
type post struct {
	tag   Tag
	dtype DType
	dst   []byte
	add   bool // add to dst as float32 instead of storing
	at    int  // bytes done
	done  bool
	err   error
}

// take applies the next chunk and reports whether the tensor is complete or has
// failed.
func (p *post) take(b *inbox, c *chunk) bool {
	if p.at == 0 && c.chunk == 0 {
		p.err = b.mismatch(&c.header, p.tag, p.dtype, len(p.dst))
	}
	if p.err == nil {
		p.err = b.verify(c, p.tag, p.at, len(p.dst))
	}
	if p.err == nil && !c.placed {
		if dst := p.dst[p.at:][:len(c.data)]; p.add {
			addFloats(rawFloats(dst), rawFloats(c.data))
		} else {
			copy(dst, c.data)
		}
	}
	p.at += len(c.data)
	if c.own != nil {
		c.own.free()
	}
	p.done = p.err != nil || c.last()
	return p.done
}

// fill completes p: from the queue, and then from what arrives.
func (b *inbox) fill(ctx context.Context, e *inEdge, src int, p *post) error {
	for !p.done {
		e.mu.Lock()
		c, ok := e.queue.pop()
		e.bytes -= len(c.data)
		n := e.settle(b)
		if !ok {
			e.post = p
		}
		e.mu.Unlock()
		if n > 0 {
			b.credit(src, p.tag.Edge, n)
		}
		if !ok {
			return b.awaitPost(ctx, e, src, p)
		}
		notify(e.taken)
		p.take(b, &c)
	}
	return p.err
}

// awaitPost waits until deliver has completed p.
func (b *inbox) awaitPost(ctx context.Context, e *inEdge, src int, p *post) error {
	var since time.Time
	for {
		if b.life.Err() != nil {
			return context.Cause(b.life)
		}
		left := b.left(src) // asked before the post is: a bye follows the data
		e.mu.Lock()
		done := p.done
		e.mu.Unlock()
		switch {
		case done:
			return p.err
		case left != nil:
			return left
		}
		if since.IsZero() {
			since = time.Now()
		}
		e.record.begin("recv", src, p.tag, since)
		err := b.wait(ctx, e)
		e.record.end()
		if err != nil {
			return explain(err, "recv", b.rank, src, p.tag, since)
		}
	}
}

// claim returns where the payload of h belongs if a receiver waits for it to be
// stored, else nil. The transport fills it and delivers the chunk as placed, or
// has filled called alone.
func (b *inbox) claim(h *header, n int) []byte {
	b.mu.Lock()
	e := b.edges[edgeKey{int(h.src), h.edge}]
	b.mu.Unlock()
	if e == nil {
		return nil // nobody waits: deliver may open it
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.post
	if p == nil || p.done || p.add || h.seq != e.seq || h.chunk != e.chunk || h.offset != uint64(p.at) || h.total != uint64(len(p.dst)) {
		return nil
	}
	e.busy = true
	return p.dst[p.at:][:n]
}

// filled says that the transport is done with what claim returned.
func (b *inbox) filled(h *header) {
	e := b.edge(int(h.src), h.edge)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.busy = false
	e.idle.Broadcast()
}

// withdraw takes back the post of a receive that failed: nothing writes to its
// tensor any more. The transport's life is over, so a claim ends soon.
func (e *inEdge) withdraw() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.post = nil
	for e.busy {
		e.idle.Wait()
	}
}
