package comm

import "context"

// directAllReduce sends x to all and sums what comes in the order of the
// members, so that all members add in the same order.
func (g *Group) directAllReduce(ctx context.Context, tag Tag, x []float32) error {
	for i := range g.others {
		if err := g.send(ctx, i, tag, x); err != nil {
			return err
		}
	}
	sum := g.temp(0, len(x))
	if err := g.directSum(ctx, tag, sum, x); err != nil {
		return err
	}
	copy(x, sum)
	return nil
}

// directReduceScatter sends each member its part and sums the parts that come.
func (g *Group) directReduceScatter(ctx context.Context, tag Tag, dst, src []float32) error {
	for i := range g.others {
		if err := g.send(ctx, i, tag, g.shard(src, i)); err != nil {
			return err
		}
	}
	// dst may be part of src.
	sum := g.temp(0, len(dst))
	if err := g.directSum(ctx, tag, sum, g.shard(src, g.me)); err != nil {
		return err
	}
	copy(dst, sum)
	return nil
}

// directSum computes sum = x_0 + x_1 + ..., where x_i comes from member i and
// mine is this member's.
func (g *Group) directSum(ctx context.Context, tag Tag, sum, mine []float32) error {
	for i, rank := range g.ranks {
		var err error
		switch {
		case i == 0 && i == g.me:
			copy(sum, mine)
		case i == 0:
			err = g.t.Recv(ctx, rank, tag, sum)
		case i == g.me:
			addFloats(sum, mine)
		default:
			err = g.t.RecvAdd(ctx, rank, tag, sum)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// directAllGather sends this member's part of x to all and fills in the others.
func (g *Group) directAllGather(ctx context.Context, tag Tag, x []float32) error {
	for i := range g.others {
		if err := g.send(ctx, i, tag, g.shard(x, g.me)); err != nil {
			return err
		}
	}
	for i := range g.others {
		if err := g.recv(ctx, i, tag, g.shard(x, i)); err != nil {
			return err
		}
	}
	return nil
}

// directBroadcast sends x from root to all.
func (g *Group) directBroadcast(ctx context.Context, tag Tag, root int, x []float32) error {
	if g.me != root {
		return g.recv(ctx, root, tag, x)
	}
	for i := range g.others {
		if err := g.send(ctx, i, tag, x); err != nil {
			return err
		}
	}
	return nil
}
