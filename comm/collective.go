package comm

import (
	"context"
	"fmt"
)

// directLimit is the size in bytes of what a member sends in all, below which
// collectives send everything to everyone, in one hop. From there on they move
// the least bytes.
const directLimit = 64 << 10

// direct reports whether sending so many elements to each other member is
// little.
func (g *Group) direct(elements int) bool { return 4*elements*(g.Size()-1) < directLimit }

// AllReduce replaces x on every member by the sum over all members. name is for
// errors. A member sends 2(1-1/Size) of x, or x to each other where that is less
// than 64 KiB in all.
func (g *Group) AllReduce(ctx context.Context, name string, x []float32) error {
	return g.call(OpAllReduce, name, len(x), func(tag Tag) error {
		sent := 2*len(x) - len(g.shard(x, g.me)) - len(g.shard(x, g.me+1))
		if done, err := g.inPlace(ctx, tag, x, nil, sent); done || err != nil {
			return err
		}
		if g.direct(len(x)) {
			return g.directAllReduce(ctx, tag, x)
		}
		if err := g.reduceScatter(ctx, tag, g.shard(x, g.me), x); err != nil {
			return err
		}
		return g.ringGather(ctx, tag, x)
	})
}

// ReduceScatter sums src, of the same size on every member, over all members and
// leaves part [Shard](len(src), Size, Rank) of the sum in dst. src is kept. The
// two may overlap only where dst is that very part.
func (g *Group) ReduceScatter(ctx context.Context, name string, dst, src []float32) error {
	mine := g.shard(src, g.me)
	if len(dst) != len(mine) {
		return fmt.Errorf("comm: reduce-scatter %q: the part of index %d of %d elements has %d, dst has %d", name, g.me, len(src), len(mine), len(dst))
	}
	if g.Size() == 1 {
		copy(dst, src)
	}
	return g.call(OpReduceScatter, name, len(src), func(tag Tag) error {
		if done, err := g.inPlace(ctx, tag, src, dst, len(src)-len(mine)); done || err != nil {
			return err
		}
		return g.reduceScatter(ctx, tag, dst, src)
	})
}

// AllGather fills dst, of the same size on every member, with the parts src of
// all members: src is part [Shard](len(dst), Size, Rank) of dst. The two may
// overlap only where src is that very part.
func (g *Group) AllGather(ctx context.Context, name string, dst, src []float32) error {
	mine := g.shard(dst, g.me)
	if len(src) != len(mine) {
		return fmt.Errorf("comm: all-gather %q: the part of index %d of %d elements has %d, src has %d", name, g.me, len(dst), len(mine), len(src))
	}
	copy(mine, src)
	return g.call(OpAllGather, name, len(dst), func(tag Tag) error {
		if done, err := g.inPlace(ctx, tag, dst, nil, len(dst)-len(g.shard(dst, g.me+1))); done || err != nil {
			return err
		}
		if g.direct(len(dst) / g.Size()) {
			return g.directAllGather(ctx, tag, dst)
		}
		return g.ringGather(ctx, tag, dst)
	})
}

// Broadcast copies x of the member with index root to all others.
func (g *Group) Broadcast(ctx context.Context, name string, root int, x []float32) error {
	if root < 0 || root >= g.Size() {
		return fmt.Errorf("comm: broadcast %q: root %d of a group of %d", name, root, g.Size())
	}
	return g.call(OpBroadcast, name, len(x), func(tag Tag) error {
		if g.direct(len(x)) {
			return g.directBroadcast(ctx, tag, root, x)
		}
		return g.chainBroadcast(ctx, tag, root, x)
	})
}

// AllToAll cuts src, of the same size on every member, by [Shard] and sends part
// i to index i. dst gets the parts for this member, in the order of the members:
// Size times the size of part Rank.
func (g *Group) AllToAll(ctx context.Context, name string, dst, src []float32) error {
	part := len(g.shard(src, g.me))
	if len(dst) != g.Size()*part {
		return fmt.Errorf("comm: all-to-all %q: %d parts of %d elements, dst has %d", name, g.Size(), part, len(dst))
	}
	copy(dst[g.me*part:(g.me+1)*part], g.shard(src, g.me))
	return g.call(OpAllToAll, name, len(src), func(tag Tag) error {
		for i := range g.others {
			if err := g.send(ctx, i, tag, g.shard(src, i)); err != nil {
				return err
			}
		}
		for i := range g.others {
			if err := g.recv(ctx, i, tag, dst[i*part:(i+1)*part]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Rotate sends src, of the same size on every member, shift places further
// around the ring of members, backwards if shift is negative, and fills dst with
// what comes from as far before. dst may be src.
func (g *Group) Rotate(ctx context.Context, name string, dst, src []float32, shift int) error {
	if len(dst) != len(src) {
		return fmt.Errorf("comm: rotate %q: src has %d elements, dst has %d", name, len(src), len(dst))
	}
	n := g.Size()
	by := (shift%n + n) % n
	if by == 0 {
		copy(dst, src)
	}
	return g.call(OpRotate, name, len(src), func(tag Tag) error {
		if by == 0 {
			return nil
		}
		return g.shift(ctx, tag, by, src, dst)
	})
}

// Barrier returns when all members have called it. It takes log2(Size) rounds
// (Hensgen, Finkel and Manber 1988, the dissemination barrier).
func (g *Group) Barrier(ctx context.Context, name string) error {
	return g.call(OpBarrier, name, 0, func(tag Tag) error {
		n := g.Size()
		for d := 1; d < n; d *= 2 {
			if err := g.send(ctx, (g.me+d)%n, tag, nil); err != nil {
				return err
			}
			if err := g.recv(ctx, (g.me-d+n)%n, tag, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// Exchange gives every member the bytes of all, by index. Sizes may differ. It
// is meant for small things: addresses, votes, measurements.
func (g *Group) Exchange(ctx context.Context, name string, mine []byte) ([][]byte, error) {
	all := make([][]byte, g.Size())
	all[g.me] = mine
	err := g.call(OpExchange, name, 0, func(tag Tag) error {
		for i := range g.others {
			if err := g.t.SendBytes(ctx, g.ranks[i], tag, mine); err != nil {
				return err
			}
		}
		for i := range g.others {
			var err error
			if all[i], err = g.t.RecvBytes(ctx, g.ranks[i], tag); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
