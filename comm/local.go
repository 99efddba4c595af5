package comm

import (
	"context"
	"time"
)

// Local returns the n transports of a job whose ranks are goroutines of this
// process. They start no goroutine themselves. Semantics, errors included, are
// those of [OverNATS] with default options.
func Local(n int) []Transport {
	o, err := TransportOptions{}.withDefaults(n, 8<<20)
	if err != nil {
		panic(err) // the defaults are valid
	}
	boxes := make([]*inbox, n)
	ends := make([]Transport, n)
	for rank := range n {
		life, end := context.WithCancelCause(context.Background())
		l := &local{boxes: boxes, end: end, queue: o.Queue, out: map[edgeKey]*localEdge{}}
		l.inbox = newInbox(life, l.abort, rank, n, o)
		boxes[rank], ends[rank] = l.inbox, l
	}
	return ends
}
