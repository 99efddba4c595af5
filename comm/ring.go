package comm

import "context"

// A ring passes parts of a tensor from each member to the next. Parts are cut
// into blocks of blockSize elements; a member keeps up to ahead blocks on the
// way, so little memory waits in queues while the link stays busy.
const (
	blockSize = 256 << 10 // elements, 1 MiB
	ahead     = 4
)

// ringGather passes the parts of x around, each member starting with its own,
// until all have all.
func (g *Group) ringGather(ctx context.Context, tag Tag, x []float32) error {
	n := g.Size()
	next, prev := (g.me+1)%n, (g.me+n-1)%n
	for s := range n - 1 {
		out, in := g.shard(x, g.me-s), g.shard(x, g.me-s-1)
		send := g.beside(blocksOf(out), func(b int) error { return g.send(ctx, next, tag, blockOf(out, b)) })
		for b := range blocksOf(in) {
			if err := send.before(b); err != nil {
				return err
			}
			if err := g.recv(ctx, prev, tag, blockOf(in, b)); err != nil {
				return send.fail(err)
			}
		}
		if err := send.wait(); err != nil {
			return err
		}
	}
	return nil
}

// blocksOf is how many blocks x has.
func blocksOf(x []float32) int { return (len(x) + blockSize - 1) / blockSize }

// shift sends out to the member that is by places further around the ring,
// while it receives in from the one as many places before. A block of out is
// sent before the same block of in is received, so the two may be one.
func (g *Group) shift(ctx context.Context, tag Tag, by int, out, in []float32) error {
	n := g.Size()
	next, prev := (g.me+by)%n, (g.me+n-by)%n
	sent := 0
	for got := 0; len(out) > 0 || len(in) > 0; got++ {
		for ; len(out) > 0 && sent < got+ahead; sent++ {
			var block []float32
			block, out = cut(out)
			if err := g.send(ctx, next, tag, block); err != nil {
				return err
			}
		}
		if len(in) == 0 {
			continue
		}
		var block []float32
		block, in = cut(in)
		if err := g.recv(ctx, prev, tag, block); err != nil {
			return err
		}
	}
	return nil
}

// chainBroadcast passes x from root along the ring, block by block.
func (g *Group) chainBroadcast(ctx context.Context, tag Tag, root int, x []float32) error {
	n := g.Size()
	next, prev := (g.me+1)%n, (g.me+n-1)%n
	for len(x) > 0 {
		var block []float32
		block, x = cut(x)
		if g.me != root {
			if err := g.recv(ctx, prev, tag, block); err != nil {
				return err
			}
		}
		if next != root {
			if err := g.send(ctx, next, tag, block); err != nil {
				return err
			}
		}
	}
	return nil
}

// cut splits off the first block of x.
func cut(x []float32) (block, rest []float32) {
	n := min(len(x), blockSize)
	return x[:n], x[n:]
}
