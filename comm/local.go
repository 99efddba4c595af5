package comm

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// local is one rank of an in-process transport: an inbox, and the inboxes of
// the others to put tensors into.
type local struct {
	*inbox
	end     context.CancelCauseFunc
	peers   []*local // of the whole job, by rank
	queue   int      // tensors an edge may hold before Send waits
	aborted sync.Once

	outMu sync.Mutex
	out   map[edgeKey]*localEdge
}

// localEdge is the sending end of an edge.
type localEdge struct {
	waiter
	in  *inEdge
	mu  sync.Mutex // keeps the tensors of an edge in order
	seq uint32
}

// Local returns the n transports of a job whose ranks are goroutines of this
// process. They start no goroutine themselves. Semantics, errors included, are
// those of [Connect] with default options.
func Local(n int) []Transport {
	o := TransportOptions{}.withDefaults(n, math.MaxInt32)
	peers := make([]*local, n)
	ends := make([]Transport, n)
	for rank := range n {
		life, end := context.WithCancelCause(context.Background())
		l := &local{end: end, peers: peers, queue: o.Queue, out: map[edgeKey]*localEdge{}}
		l.inbox = newInbox(life, l.abort, rank, n, o)
		peers[rank], ends[rank] = l, l
	}
	return ends
}

// abort ends the transport on all ranks, unless this rank has ended already.
func (l *local) abort(err error) {
	l.aborted.Do(func() {
		if l.life.Err() != nil {
			return
		}
		l.end(err)
		for rank, p := range l.peers {
			if rank != l.rank {
				p.end(&PeerError{Rank: l.rank, Cause: err})
			}
		}
	})
}

// Close implements [Transport]. What was sent stays receivable.
func (l *local) Close() error {
	err := context.Cause(l.life)
	l.end(ErrClosed)
	for _, p := range l.peers {
		p.leave(l.rank)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.edges {
		notify(e.taken) // a sender that waits for room must look again
	}
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

func (l *local) edgeTo(dst int, id uint32) *localEdge {
	l.outMu.Lock()
	defer l.outMu.Unlock()
	k := edgeKey{dst, id}
	e := l.out[k]
	if e == nil {
		e = &localEdge{waiter: waiter{life: l.life, timeout: l.timeout}, in: l.peers[dst].edge(l.rank, id)}
		l.out[k] = e
	}
	return e
}

// Send implements [Transport].
func (l *local) Send(ctx context.Context, dst int, tag Tag, x []float32) error {
	return l.send(ctx, dst, tag, Float32, rawBytes(x))
}

// SendBytes implements [Transport].
func (l *local) SendBytes(ctx context.Context, dst int, tag Tag, x []byte) error {
	return l.send(ctx, dst, tag, Bytes, x)
}

func (l *local) send(ctx context.Context, dst int, tag Tag, d DType, x []byte) error {
	if err := checkPeer(l.rank, l.size, dst); err != nil {
		return err
	}
	e := l.edgeTo(dst, tag.Edge)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := l.room(ctx, e, dst, tag); err != nil {
		l.abort(err)
		return err
	}
	f := newFrame(len(x))
	copy(f.payload(), x)
	h := header{kind: kindData, dtype: d, op: tag.Op, src: uint16(l.rank), dst: uint16(dst), edge: tag.Edge,
		micro: tag.Micro, step: tag.Step, seq: e.seq, chunks: 1, total: uint64(len(x))}
	e.seq++
	return l.peers[dst].deliver(chunk{header: h, data: f.payload(), own: f})
}

// room waits until the edge may take another tensor.
func (l *local) room(ctx context.Context, e *localEdge, dst int, tag Tag) error {
	var since time.Time
	for {
		if l.life.Err() != nil {
			return context.Cause(l.life)
		}
		if err := l.left(dst); err != nil {
			return err
		}
		e.in.mu.Lock()
		full := e.in.queue.len() >= l.queue
		e.in.mu.Unlock()
		if !full {
			return nil
		}
		if since.IsZero() {
			since = time.Now()
		}
		if err := e.await(ctx, e.in.taken); err != nil {
			return explain(err, "send", l.rank, dst, tag, since)
		}
	}
}
