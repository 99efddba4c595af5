package comm

import (
	"sync"
	"time"
)

// Wait is a call of a transport that another rank holds up.
type Wait struct {
	Op    string    `json:"op"`    // "recv", "send", or "meet" in shared memory
	Peer  int       `json:"peer"`  // the rank that is waited for
	Tag   Tag       `json:"tag"`   // the tensor or collective
	Since time.Time `json:"since"` // by this process's clock
}

// waitRecord keeps a wait for others to look at. It costs something only where a
// call has to wait.
type waitRecord struct {
	mu   sync.Mutex
	wait Wait // no wait if Op is empty
}

// begin notes a wait.
func (r *waitRecord) begin(op string, peer int, tag Tag, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait = Wait{Op: op, Peer: peer, Tag: tag, Since: since}
}

// end notes that nothing is waited for.
func (r *waitRecord) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait.Op = ""
}

// addTo appends the wait, if there is one.
func (r *waitRecord) addTo(waits []Wait) []Wait {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wait.Op == "" {
		return waits
	}
	return append(waits, r.wait)
}

// Waiting lists what t waits for now, in no order. It is for transports between
// processes, and safe to call at any time.
func Waiting(t Transport) []Wait {
	n, ok := innermost(t).(*natsTransport)
	if !ok {
		return nil
	}
	return n.out.waiting(n.hub.waiting(n.inbox.waiting(nil)))
}

func (b *inbox) waiting(waits []Wait) []Wait {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.edges {
		waits = e.record.addTo(waits)
	}
	return waits
}

func (b *outbox) waiting(waits []Wait) []Wait {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.edges {
		waits = e.record.addTo(waits)
	}
	return waits
}

func (h *shmHub) waiting(waits []Wait) []Wait {
	if h == nil {
		return waits
	}
	h.grouping.Lock()
	defer h.grouping.Unlock()
	for _, g := range h.groups {
		waits = g.wake.record.addTo(waits)
	}
	return waits
}
