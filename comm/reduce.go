package comm

import "context"

// reduceScatter sends each member its part of src and leaves in dst the sum of
// the parts that come, added in the order of the members, whatever the part. So
// an element's sum does not depend on where it lies, nor on what it is sent
// with. dst may be this member's part of src.
//
// As around a ring, a member sends 1-1/Size of src, which is the least
// (Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce"); but it waits for no
// chain of others, and memory for a few blocks a member is taken on the way.
func (g *Group) reduceScatter(ctx context.Context, tag Tag, dst, src []float32) error {
	mine := g.shard(src, g.me)
	blocks := (len(src)/g.Size() + blockSize) / blockSize // of the largest part, at least
	send := g.beside(blocks, func(b int) error { return g.scatter(ctx, tag, src, b) })
	for b := range blocks {
		if err := send.before(b); err != nil {
			return err
		}
		own := blockOf(mine, b)
		if b > 0 && len(own) == 0 {
			continue
		}
		if err := g.sum(ctx, tag, blockOf(dst, b), own); err != nil {
			return send.fail(err)
		}
	}
	return send.wait()
}

// scatter sends block b of each other member's part of x, the first even if it
// is empty: members meet in it.
func (g *Group) scatter(ctx context.Context, tag Tag, x []float32, b int) error {
	for i := range g.others {
		if part := blockOf(g.shard(x, i), b); b == 0 || len(part) > 0 {
			if err := g.send(ctx, i, tag, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// blockOf returns block b of x, empty past the last.
func blockOf(x []float32, b int) []float32 {
	return x[min(len(x), b*blockSize):min(len(x), (b+1)*blockSize)]
}

// sum leaves x_0 + x_1 + ... in dst, where x_i comes from member i and mine, which
// dst may be, is this member's. The first two terms may change places, so members
// 0 and 1 add in place; others keep theirs until its turn comes.
func (g *Group) sum(ctx context.Context, tag Tag, dst, mine []float32) error {
	first := g.me <= 1
	if first {
		copy(dst, mine)
	} else {
		mine = append(g.scratch[:0], mine...)
		g.scratch = mine
	}
	for i, rank := range g.ranks {
		var err error
		switch {
		case i == g.me && first:
		case i == g.me:
			addFloats(dst, mine)
		case i == 0 && !first:
			err = g.t.Recv(ctx, rank, tag, dst)
		default:
			err = g.t.RecvAdd(ctx, rank, tag, dst)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
