package comm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// sizes around the limits: empty, fewer than ranks, direct, ring, several blocks.
var groupSizes = rapid.OneOf(
	rapid.IntRange(0, 9),
	rapid.IntRange(10, 1000),
	rapid.IntRange(1000, directLimit/4-1),
	rapid.IntRange(directLimit/4, 3*directLimit/4),
)

// noise gives rank-dependent floats whose sum depends on the order of addition.
func noise(n, rank int) []float32 {
	r := rand.New(rand.NewPCG(uint64(n), uint64(rank)))
	x := make([]float32, n)
	for i := range x {
		x[i] = (r.Float32() - 0.5) * float32(int(1)<<r.IntN(24))
	}
	return x
}

// near compares a float32 sum of terms with its float64 value.
func near(got []float32, terms [][]float32) error {
	for i, v := range got {
		var sum, size float64
		for _, x := range terms {
			sum += float64(x[i])
			size += math.Abs(float64(x[i]))
		}
		if math.Abs(float64(v)-sum) > 1e-6*size {
			return fmt.Errorf("element %d is %v, want %v", i, v, sum)
		}
	}
	return nil
}

// checkCollectives runs all collectives over random groups of the world.
func checkCollectives(t *testing.T, world []Transport, id *uint32) func(*rapid.T) {
	return func(rt *rapid.T) {
		ranks := rapid.Permutation(every(len(world))).Draw(rt, "ranks")
		ranks = ranks[:rapid.IntRange(1, len(ranks)).Draw(rt, "members")]
		n := groupSizes.Draw(rt, "n")
		root := rapid.IntRange(0, len(ranks)-1).Draw(rt, "root")
		memory := rapid.SampledFrom([]string{"private", "shared", "mixed"}).Draw(rt, "memory")
		*id++
		results := make([]results, len(ranks))
		for i, err := range each(len(ranks), func(i int) error {
			g, err := NewGroup(world[ranks[i]], *id, ranks)
			if err != nil {
				return err
			}
			private := memory == "private" || memory == "mixed" && i == 0
			results[i], err = runCollectives(testContext(t), g, n, root, func(n int) []float32 {
				if private {
					return make([]float32, n)
				}
				return Alloc(world[ranks[i]], n)
			})
			return err
		}) {
			if err != nil {
				rt.Fatalf("rank %d: %v", ranks[i], err)
			}
		}
		if err := checkResults(results, n, root); err != nil {
			rt.Fatal(err)
		}
	}
}

func every(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

type results struct {
	reduced, part, gathered, cast, all []float32
	rotated, back                      []float32 // by root places
	bytes                              [][]byte
}

// alloc gives memory for what collectives may do in place.
func runCollectives(ctx context.Context, g *Group, n, root int, alloc func(n int) []float32) (r results, err error) {
	x := append(alloc(n)[:0], noise(n, g.Rank())...)
	lo, hi := Shard(n, g.Size(), g.Rank())
	r = results{reduced: append(alloc(n)[:0], x...), part: make([]float32, hi-lo), gathered: alloc(n),
		cast: slices.Clone(x), all: make([]float32, (hi-lo)*g.Size()), rotated: make([]float32, n)}
	steps := []func() error{
		func() error { return g.AllReduce(ctx, "sum", r.reduced) },
		func() error { return g.ReduceScatter(ctx, "part", r.part, x) },
		func() error { return sameFloats(x, noise(n, g.Rank())) }, // src is kept
		func() error { return g.AllGather(ctx, "gather", r.gathered, r.part) },
		func() error { return g.Broadcast(ctx, "cast", root, r.cast) },
		func() error { return g.AllToAll(ctx, "transpose", r.all, x) },
		func() error { return g.Rotate(ctx, "pass on", r.rotated, x, root) },
		func() error {
			r.back = slices.Clone(r.rotated)
			return g.Rotate(ctx, "pass back", r.back, r.back, -root)
		},
		func() error { return g.Barrier(ctx, "end") },
		func() error {
			r.bytes, err = g.Exchange(ctx, "names", bytes.Repeat([]byte{byte(g.Rank())}, g.Rank()))
			return err
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return r, err
		}
	}
	return r, nil
}

func checkResults(rs []results, n, root int) error {
	var inputs [][]float32
	for i := range rs {
		inputs = append(inputs, noise(n, i))
	}
	for i, r := range rs {
		lo, hi := Shard(n, len(rs), i)
		var transposed []float32
		for _, x := range inputs {
			transposed = append(transposed, x[lo:hi]...)
		}
		for what, err := range map[string]error{
			"all-reduce, value":              near(r.reduced, inputs),
			"all-reduce, bits on all":        sameFloats(r.reduced, rs[0].reduced),
			"reduce-scatter like all-reduce": sameFloats(r.part, r.reduced[lo:hi]),
			"all-gather after it":            sameFloats(r.gathered, r.reduced),
			"broadcast":                      sameFloats(r.cast, inputs[root]),
			"all-to-all":                     sameFloats(r.all, transposed),
			"rotate":                         sameFloats(r.rotated, inputs[(i-root+len(rs))%len(rs)]),
			"rotate back, in place":          sameFloats(r.back, inputs[i]),
		} {
			if err != nil {
				return fmt.Errorf("%s at index %d: %w", what, i, err)
			}
		}
		for j, b := range r.bytes {
			if !bytes.Equal(b, bytes.Repeat([]byte{byte(j)}, j)) {
				return fmt.Errorf("exchange at index %d: %v from %d", i, b, j)
			}
		}
	}
	return nil
}

func TestCollectives(t *testing.T) {
	worlds(t, 5, func(t *testing.T, world []Transport) {
		var id uint32
		rapid.Check(t, checkCollectives(t, world, &id))
	})
}

// Parts of more blocks than may be ahead, and not all of the same number.
func TestManyBlocks(t *testing.T) {
	const n = 3*(ahead+2)*blockSize + 1
	worlds(t, 3, func(t *testing.T, world []Transport) {
		rs := make([][]float32, 3)
		onAll(t, 3, func(rank int) error {
			g, err := NewGroup(world[rank], 0, every(3))
			if err != nil {
				return err
			}
			rs[rank] = ramp(n, float32(rank+1))
			return errors.Join(g.AllReduce(testContext(t), "grads", rs[rank]),
				g.Broadcast(testContext(t), "weights", 1, rs[rank]),
				g.Rotate(testContext(t), "keys", rs[rank], rs[rank], 2))
		})
		for _, r := range rs {
			if err := sameFloats(r, ramp(n, 6)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// counter counts the elements that a rank sends.
type counter struct {
	Transport
	sent int
}

func (c *counter) Send(ctx context.Context, dst int, tag Tag, x []float32) error {
	c.sent += len(x)
	return c.Transport.Send(ctx, dst, tag, x)
}

// A rotation sends one tensor a rank, whatever the number of ranks and the
// way.
func TestRotateSendsOneTensor(t *testing.T) {
	const n = 3*blockSize + 7
	world := Local(4)
	for shift := -1; shift <= 4; shift++ {
		onAll(t, len(world), func(rank int) error {
			c := &counter{Transport: world[rank]}
			g, err := NewGroup(c, uint32(1+shift), every(len(world)))
			if err != nil {
				return err
			}
			x := ramp(n, float32(rank))
			if err := g.Rotate(testContext(t), "keys", x, x, shift); err != nil {
				return err
			}
			if want := min(n, n*(shift&3)); c.sent != want {
				return fmt.Errorf("by %d: %d elements sent, want %d", shift, c.sent, want)
			}
			return sameFloats(x, ramp(n, float32((rank-shift+4)%4)))
		})
	}
}

// The result depends on the inputs only, not on timing or transport.
func TestAllReduceIsReproducible(t *testing.T) {
	for _, n := range []int{1000, 100_000} {
		var first []float32
		for range 3 {
			worlds(t, 3, func(t *testing.T, world []Transport) {
				out := make([][]float32, 3)
				onAll(t, 3, func(rank int) error {
					g, err := NewGroup(world[rank], 0, every(3))
					if err != nil {
						return err
					}
					out[rank] = append(Alloc(world[rank], n)[:0], noise(n, rank)...)
					return g.AllReduce(testContext(t), "grads", out[rank])
				})
				if first == nil {
					first = out[0]
				}
				if err := sameFloats(out[1], first); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

func TestGroupMismatch(t *testing.T) {
	reduce := func(n int) func(context.Context, *Group) error {
		return func(ctx context.Context, g *Group) error { return g.AllReduce(ctx, "grads", make([]float32, n)) }
	}
	barrier := func(ctx context.Context, g *Group) error { return g.Barrier(ctx, "end") }
	gather := func(n int) func(context.Context, *Group) error {
		return func(ctx context.Context, g *Group) error {
			x := make([]float32, n)
			return g.AllGather(ctx, "weights", x, g.shard(x, g.me))
		}
	}
	cases := map[string]struct {
		odd, rest func(context.Context, *Group) error
	}{
		"size, direct":        {reduce(100), reduce(101)},
		"size, ring":          {reduce(100_000), reduce(100_001)},
		"direct against ring": {reduce(100), reduce(100_000)},
		"op":                  {gather(100), reduce(100)},
		"op, ring":            {gather(100_000), reduce(100_000)},
		"barrier":             {barrier, reduce(100_000)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			worlds(t, 3, func(t *testing.T, world []Transport) {
				var mismatches int
				for rank, err := range each(3, func(rank int) error {
					g, err := NewGroup(world[rank], 1, every(3))
					if err != nil {
						return err
					}
					if rank == 1 {
						return c.odd(testContext(t), g)
					}
					return c.rest(testContext(t), g)
				}) {
					if err == nil {
						t.Fatalf("rank %d: no error", rank)
					}
					if strings.Contains(err.Error(), "expects") {
						mismatches++
					}
				}
				if mismatches == 0 {
					t.Fatal("nobody saw the mismatch")
				}
			})
		})
	}
}

func TestGroupOfOne(t *testing.T) {
	g, err := NewGroup(Local(1)[0], 0, []int{0})
	if err != nil {
		t.Fatal(err)
	}
	r, err := runCollectives(testContext(t), g, 10, 0, func(n int) []float32 { return make([]float32, n) })
	if err != nil {
		t.Fatal(err)
	}
	if err := checkResults([]results{r}, 10, 0); err != nil {
		t.Fatal(err)
	}
}

func TestNewGroupRefuses(t *testing.T) {
	tr := Local(3)[1]
	for _, ranks := range [][]int{nil, {0, 2}, {1, 1}, {1, 3}, {-1, 1}} {
		if _, err := NewGroup(tr, 0, ranks); err == nil {
			t.Errorf("group of %v at rank 1 of 3", ranks)
		}
	}
	if _, err := NewGroup(tr, GroupEdges, []int{1}); err == nil {
		t.Error("group id with the group bit")
	}
}

func TestGroupWrongSizes(t *testing.T) {
	g, err := NewGroup(Local(2)[0], 0, []int{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, x := testContext(t), make([]float32, 10)
	for name, err := range map[string]error{
		"reduce-scatter": g.ReduceScatter(ctx, "a", x, x),
		"all-gather":     g.AllGather(ctx, "b", x, x),
		"all-to-all":     g.AllToAll(ctx, "c", x[:4], x),
		"broadcast":      g.Broadcast(ctx, "d", 2, x),
		"rotate":         g.Rotate(ctx, "e", x[:4], x, 1),
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
