package comm

import (
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestTrafficOfCollectives counts what each member sends: of a tensor of x
// elements and parts of p,
//
//	all-reduce      x - p to scatter, x - the next member's p to gather; or
//	                (Size-1) x where that is less than 64 KiB
//	reduce-scatter  x - p
//	all-gather      x - the next member's p on a ring; or (Size-1) p
//	all-to-all      x - p
//	rotate          x
//
// which is 2(Size-1)/Size, (Size-1)/Size, and so on, of x where it divides.
func TestTrafficOfCollectives(t *testing.T) {
	for size := 2; size <= 4; size++ {
		for _, n := range []int{size * 1000, size*1000 + 1, size * 30_000, size*30_000 - 1, size*(blockSize+8) + size - 1} {
			world := Local(size)
			onAll(t, size, func(rank int) error {
				c := &counter{Transport: world[rank]}
				g, err := NewGroup(c, 0, every(size))
				if err != nil {
					return err
				}
				x := ramp(n, 1)
				part, next := len(g.shard(x, rank)), len(g.shard(x, rank+1))
				reduce, gather := 2*n-part-next, n-next
				if g.direct(n) {
					reduce = (size - 1) * n
				}
				if g.direct(n / size) {
					gather = (size - 1) * part
				}
				for _, call := range []struct {
					name string
					run  func(context.Context) error
					want int
				}{
					{"all-reduce", func(ctx context.Context) error { return g.AllReduce(ctx, "x", x) }, reduce},
					{"reduce-scatter", func(ctx context.Context) error { return g.ReduceScatter(ctx, "x", make([]float32, part), x) }, n - part},
					{"all-gather", func(ctx context.Context) error { return g.AllGather(ctx, "x", x, make([]float32, part)) }, gather},
					{"all-to-all", func(ctx context.Context) error { return g.AllToAll(ctx, "x", make([]float32, size*part), x) }, n - part},
					{"rotate", func(ctx context.Context) error { return g.Rotate(ctx, "x", x, x, 1) }, n},
				} {
					c.sent = 0
					if err := call.run(testContext(t)); err != nil {
						return err
					}
					if c.sent != call.want {
						return fmt.Errorf("%s of %d: %d elements sent, want %d", call.name, n, c.sent, call.want)
					}
				}
				return nil
			})
			closeAll(t, world)
		}
	}
}

// TestSumsKeepTheirOrder finds the sum in the order of the members, whatever
// collective adds up an element, and whatever it is sent with.
func TestSumsKeepTheirOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(2, 4).Draw(rt, "members")
		n := rapid.OneOf(groupSizes, rapid.Just(size*blockSize+5)).Draw(rt, "n")
		from := rapid.IntRange(0, n).Draw(rt, "from")
		want := noise(n, 0)
		for rank := 1; rank < size; rank++ {
			addFloats(want, noise(n, rank))
		}
		world := Local(size)
		for rank, err := range each(size, func(rank int) error {
			g, err := NewGroup(world[rank], 0, every(size))
			if err != nil {
				return err
			}
			whole, pieces := noise(n, rank), noise(n, rank)
			part := make([]float32, len(g.shard(whole, rank)))
			for _, run := range []func() error{
				func() error { return g.ReduceScatter(testContext(t), "part", part, whole) },
				func() error { return sameFloats(part, g.shard(want, rank)) },
				func() error { return g.AllReduce(testContext(t), "whole", whole) },
				func() error { return sameFloats(whole, want) },
				func() error { return g.AllReduce(testContext(t), "first piece", pieces[:from]) },
				func() error { return g.AllReduce(testContext(t), "second piece", pieces[from:]) },
				func() error { return sameFloats(pieces, want) },
			} {
				if err := run(); err != nil {
					return err
				}
			}
			return nil
		}) {
			if err != nil {
				rt.Fatalf("rank %d: %v", rank, err)
			}
		}
	})
}
