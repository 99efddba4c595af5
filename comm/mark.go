package comm

import (
	"cmp"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// markEvery is the time between marks. It bounds how long a lost frame that
// nothing follows stays unnoticed.
const markEvery = 500 * time.Millisecond

// silentMarks is how many times markEvery a connection may be silent: it carries
// something at least that often.
const silentMarks = 5

// marking tells the peers, again and again, how many tensors were sent on each edge
// that is at rest. A mark goes the way of the frames, behind them: where the last
// frames of an edge are lost and no other follows, the mark does. It also has each
// connection say that it lives.
func (t *natsTransport) marking() {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.life.Done():
			return
		case <-tick.C:
		}
		if err := cmp.Or(t.linked.beat(), t.out.mark()); err != nil {
			t.abort(err)
			return
		}
	}
}

// mark sends marks for the edges that have sent something since their last.
func (b *outbox) mark() error {
	b.mu.Lock()
	edges := make(map[edgeKey]*outEdge, len(b.edges))
	for k, e := range b.edges {
		edges[k] = e
	}
	b.mu.Unlock()
	for k, e := range edges {
		if !e.sending.TryLock() {
			continue // it is not at rest
		}
		err := b.markEdge(k, e)
		e.sending.Unlock()
		// Where this end or the other has closed, nothing can be missing.
		if err != nil && !errors.Is(err, errFull) && !errors.Is(err, ErrClosed) {
			return err
		}
	}
	return nil
}

// markEdge marks an edge unless frames of it wait. The caller holds e.sending.
func (b *outbox) markEdge(k edgeKey, e *outEdge) error {
	b.mu.Lock()
	rests := e.queue.len() == 0 && !e.pumping
	b.mu.Unlock()
	if !rests || e.seq == e.marked {
		return nil
	}
	h := header{kind: kindMark, src: uint16(b.rank), dst: uint16(k.peer), edge: k.edge, epoch: b.epoch, seq: e.seq}
	if err := b.wires[k.peer].write(&h, nil); err != nil {
		return err
	}
	e.marked = e.seq
	return nil
}

// marked checks that all tensors that were sent on an edge before a mark have come.
func (b *inbox) marked(h *header) error {
	e, err := b.opened(h)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.seq == e.seq && e.chunk == 0 {
		return nil
	}
	return &CorruptError{Kind: Gap, Rank: b.rank, Peer: int(h.src), Tag: h.tag(),
		Detail: fmt.Sprintf("tensors before number %d were sent, those before tensor %d chunk %d have come", h.seq, e.seq, e.chunk)}
}

// pulse watches for life on a connection.
type pulse struct {
	heard atomic.Uint64 // frames that came
	over  atomic.Bool   // the peer sends no more
	last  uint64        // heard, when it was last looked at
	quiet int           // looks since heard changed
}

// silent reports whether nothing has come for too long. It is called each
// markEvery, so that only time counts in which this process ran.
func (p *pulse) silent() bool {
	if heard := p.heard.Load(); heard != p.last {
		p.last, p.quiet = heard, 0
		return false
	}
	p.quiet++
	return p.quiet >= silentMarks && !p.over.Load()
}

// beat has the connections between hosts and processes show that they live, and
// finds those that do not.
func (l *linked) beat() error {
	l.mu.Lock()
	links := l.links
	l.mu.Unlock()
	for _, link := range links {
		tcp, ok := link.(*tcpLink)
		if !ok {
			continue
		}
		if tcp.pulse.silent() {
			return l.t.lost(tcp.peer, fmt.Errorf("nothing has come over its TCP connection for %v: the connection is cut or the peer hangs", silentMarks*markEvery))
		}
		if err := tcp.beat(); err != nil && !errors.Is(err, ErrClosed) {
			return err
		}
	}
	return nil
}

// beat sends a frame of no meaning, unless one is being sent.
func (l *tcpLink) beat() error {
	if !l.writing.TryLock() {
		return nil
	}
	defer l.writing.Unlock()
	if l.ended.Load() {
		return nil
	}
	h := l.t.header(kindHello, l.peer, 0, 0)
	return l.put(&h, nil)
}
