package comm

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Transport moves tensors between the ranks of a job. Implementations are safe
// for concurrent use on different edges; on one edge and direction, calls must
// be made by one goroutine at a time.
//
// A call waits until its context ends or, where the context has no deadline,
// until the default deadline of the transport. Any error but that of a wrong
// argument ends the transport on all ranks: a tensor half received cannot be
// resumed.
type Transport interface {
	// Rank is this end's number, 0 <= Rank < Size.
	Rank() int
	// Size is the number of ranks.
	Size() int
	// Send queues x for dst and returns when x may be reused. It does not wait
	// for dst to receive, up to a generous number of queued tensors, so two
	// ranks may send to each other first and receive afterwards. What goes
	// wrong with the delivery surfaces at a later call.
	Send(ctx context.Context, dst int, tag Tag, x []float32) error
	// Recv fills x with the next tensor from src on the edge of the tag. A tag
	// or size other than the sender's is a [MismatchError].
	Recv(ctx context.Context, src int, tag Tag, x []float32) error
	// RecvAdd is Recv, but adds the tensor to x, element by element: x[i] += got[i].
	RecvAdd(ctx context.Context, src int, tag Tag, x []float32) error
	// SendBytes is Send for bytes, at most 64 MiB.
	SendBytes(ctx context.Context, dst int, tag Tag, x []byte) error
	// RecvBytes returns the next message of bytes from src.
	RecvBytes(ctx context.Context, src int, tag Tag) ([]byte, error)
	// Close delivers what is queued and ends this end of the transport. Peers
	// that still expect something from it get a [PeerError].
	Close() error
}

// TransportOptions tunes a transport. The zero value is good.
type TransportOptions struct {
	Plane   Plane         // what carries tensors; default NATS
	Timeout time.Duration // deadline of calls whose context has none; default 60 s
	Chunk   int           // payload bytes of a frame; default 256 KiB, at most what the server takes
	Window  int           // frames in flight per edge; default 4 to 16 by the number of ranks
	Backlog int           // bytes per edge taken in before they are asked for; default 32 MiB
	Queue   int           // tensors per edge that Send queues before it waits; default 256

	host string // in tests, where this rank is
}

// flightBudget bounds what all senders together may have on the way to one
// receiver. Client library and server both give up at 64 MiB by default.
const flightBudget = 32 << 20

// minChunk is the smallest payload of a frame in bytes.
const minChunk = 64

// check refuses options that cannot work with frames of up to maxPayload bytes.
func (o TransportOptions) check(maxPayload int) error {
	if o.Timeout < 0 || o.Chunk < 0 || o.Window < 0 || o.Backlog < 0 || o.Queue < 0 {
		return fmt.Errorf("comm: transport options must not be negative: %+v", o)
	}
	if maxPayload < headerSize+minChunk {
		return fmt.Errorf("comm: the NATS server takes messages of up to %d bytes: raise its max_payload to at least %d", maxPayload, headerSize+minChunk)
	}
	return nil
}

// withDefaults fills in what the caller left zero.
func (o TransportOptions) withDefaults(size, maxPayload int) TransportOptions {
	o.Timeout = cmp.Or(o.Timeout, 60*time.Second)
	o.Backlog = cmp.Or(o.Backlog, 32<<20)
	o.Queue = cmp.Or(o.Queue, 256)
	o.Chunk = max(minChunk, min(cmp.Or(o.Chunk, 256<<10), maxPayload-headerSize)&^3)
	// Two busy edges per peer is the usual case: a pipeline edge or all-to-all
	// beside a gradient group.
	fit := flightBudget / o.Chunk / (2 * max(1, size-1))
	o.Window = cmp.Or(o.Window, min(16, max(4, fit)))
	return o
}

// checkPeer refuses ranks that rank cannot talk to.
func checkPeer(rank, size, peer int) error {
	if peer < 0 || peer >= size || peer == rank {
		return fmt.Errorf("comm: rank %d has no peer %d: peers are the other ranks below %d", rank, peer, size)
	}
	return nil
}
