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
	return g.sum(ctx, tag, x, x)
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
