package comm

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Group runs collectives over a subset of the ranks of a transport. All members
// call the same collectives in the same order with the same sizes; a member that
// does otherwise makes all fail with a [MismatchError] or, if it calls nothing,
// a [TimeoutError]. Calls on one group run one after the other; collectives that
// shall overlap need groups of different ids.
//
// Results do not depend on timing: every element's sum is added up in the order
// of the members, and all members get the same bits. So an all-reduce equals a
// reduce-scatter followed by an all-gather, and collectives over parts of a
// tensor equal one over the whole, bit for bit.
type Group struct {
	t     Transport
	id    uint32
	ranks []int
	me    int         // index of this rank in ranks
	arena *arenaGroup // runs collectives in place; nil where members do not share memory
	eager bool        // what comes from other members is taken in before it is asked for

	mu      sync.Mutex
	calls   uint64
	scratch []float32 // keeps what this member adds
}

// NewGroup makes a group of the given ranks of t, in the order that its
// collectives use. All its members pass the same id, below [GroupEdges], and the
// same ranks; groups that have two ranks in common need different ids.
func NewGroup(t Transport, id uint32, ranks []int) (*Group, error) {
	if id >= GroupEdges {
		return nil, fmt.Errorf("comm: group id %d: ids are below %d", id, GroupEdges)
	}
	for i, r := range ranks {
		if r < 0 || r >= t.Size() || slices.Contains(ranks[:i], r) {
			return nil, fmt.Errorf("comm: group %d of ranks %v: want different ranks below %d", id, ranks, t.Size())
		}
	}
	me := slices.Index(ranks, t.Rank())
	if me < 0 {
		return nil, fmt.Errorf("comm: group %d of ranks %v does not have rank %d, which makes it", id, ranks, t.Rank())
	}
	ranks = slices.Clone(ranks)
	return &Group{t: t, id: id, ranks: ranks, me: me, eager: eager(t, ranks), arena: newArenaGroup(t, id, ranks, me)}, nil
}

// Wrapper is a transport that does something besides what another does.
type Wrapper interface {
	Transport
	// Unwrap returns the other.
	Unwrap() Transport
}

// Counter is a [Wrapper] that counts what is sent. It is told what a collective
// in shared memory would have sent.
type Counter interface {
	Count(bytes int)
}

// innermost is the transport that all wrappers are around.
func innermost(t Transport) Transport {
	for {
		w, ok := t.(Wrapper)
		if !ok {
			return t
		}
		t = w.Unwrap()
	}
}

// eager reports whether t takes in what comes from one of ranks before it is asked
// for.
func eager(t Transport, ranks []int) bool {
	n, ok := innermost(t).(*natsTransport)
	return ok && slices.ContainsFunc(ranks, func(r int) bool { return r != n.rank && n.routes.Plane[n.rank][r] != SHM })
}

// Rank is the index of this rank in the group.
func (g *Group) Rank() int { return g.me }

// Size is the number of ranks of the group.
func (g *Group) Size() int { return len(g.ranks) }

// Shard returns the part lo:hi of n elements that belongs to index i of a group
// of the given size. Parts differ by at most one element and follow one another.
func Shard(n, size, i int) (lo, hi int) { return n * i / size, n * (i + 1) / size }

// shard is the part of x that belongs to index i, counted around the ring.
func (g *Group) shard(x []float32, i int) []float32 {
	n := g.Size()
	lo, hi := Shard(len(x), n, (i%n+n)%n)
	return x[lo:hi]
}

// call runs one collective over n elements, under the next call number.
func (g *Group) call(op Op, name string, n int, run func(Tag) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	if g.Size() == 1 {
		return nil
	}
	tag := Tag{Edge: GroupEdges + g.id, Step: g.calls, Micro: uint32(n), Op: op, Name: name}
	if err := run(tag); err != nil {
		return fmt.Errorf("%v %q of %d elements, index %d of group %d %v: %w", op, name, n, g.me, g.id, g.ranks, err)
	}
	return nil
}

// inPlace runs a collective in shared memory, if all members have the tensor
// there. sent is how many elements this member would have sent otherwise: they
// count as sent.
func (g *Group) inPlace(ctx context.Context, tag Tag, whole, out []float32, sent int) (bool, error) {
	if g.arena == nil || 4*len(whole) < arenaLeast {
		return false, nil
	}
	done, err := g.arena.try(ctx, tag, whole, out)
	if done && err == nil {
		for t := g.t; ; {
			w, ok := t.(Wrapper)
			if !ok {
				break
			}
			if c, ok := w.(Counter); ok {
				c.Count(4 * sent)
			}
			t = w.Unwrap()
		}
	}
	return done, err
}

// others returns the indexes of the other members, starting after this one, so
// that not all begin with the same.
func (g *Group) others(yield func(int) bool) {
	for d := 1; d < g.Size(); d++ {
		if !yield((g.me + d) % g.Size()) {
			return
		}
	}
}

func (g *Group) send(ctx context.Context, to int, tag Tag, x []float32) error {
	return g.t.Send(ctx, g.ranks[to], tag, x)
}

func (g *Group) recv(ctx context.Context, from int, tag Tag, x []float32) error {
	return g.t.Recv(ctx, g.ranks[from], tag, x)
}
