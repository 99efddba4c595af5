package comm

import (
	"context"
	"sync"
	"time"
)

// linked are the links of a transport, beside NATS.
type linked struct {
	t       *natsTransport
	links   []link
	running sync.WaitGroup
	release func() bool // of the hook that watches the life
	mu      sync.Mutex  // guards links
}

// init begins to watch the life of t: when it ends, links are closed.
func (l *linked) init(t *natsTransport) {
	l.t = t
	l.release = context.AfterFunc(t.life, l.closeAll)
}

// carrier makes the carrier of a plane.
func (t *natsTransport) carrier(p Plane) carrier {
	if p == SHM {
		return newShmCarrier(t)
	}
	return newTCPCarrier(t)
}

// adopt has a link carry what goes to and comes from a peer.
func (t *natsTransport) adopt(peer int, l link) {
	if l, ok := l.(*shmLink); ok {
		t.inbox.lead = l.hub.wait
		t.hub, t.arena, l.hub.adopted = l.hub, l.hub.arena, true
	}
	t.linked.mu.Lock()
	t.linked.links = append(t.linked.links, l)
	t.linked.mu.Unlock()
	t.wires[peer] = l
	t.linked.running.Go(l.run)
	if t.life.Err() != nil {
		l.close() // the hook may have run before
	}
}

// lost returns the error of a link that broke: a peer that failed is about to
// tell why over NATS, which says more.
func (t *natsTransport) lost(peer int, err error) error {
	late := time.NewTimer(lostGrace)
	defer late.Stop()
	select {
	case <-t.life.Done():
		return context.Cause(t.life)
	case <-late.C:
	}
	if left := t.left(peer); left != nil {
		return left
	}
	return &PeerError{Rank: peer, Cause: err}
}

// lostGrace is how long the reason for a broken link may take over NATS.
const lostGrace = 250 * time.Millisecond

// finish says on all links that no more follows, and waits until the peers have
// said so too, or the life ends.
func (l *linked) finish() {
	for _, link := range l.links {
		link.finish()
	}
	l.running.Wait()
}

func (l *linked) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, link := range l.links {
		link.close()
	}
}

// shut closes the links and waits until they have ended.
func (l *linked) shut() {
	l.release()
	l.closeAll()
	l.running.Wait()
}
