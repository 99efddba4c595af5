package comm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSendRecv(t *testing.T) {
	worlds(t, 2, func(t *testing.T, w []Transport) {
		ctx := testContext(t)
		// Empty, one element, a chunk less, exactly and more, and beyond the window.
		sizes := []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 3 << 20}
		onAll(t, 2, func(rank int) error {
			for step := range 2 {
				for i, n := range sizes {
					tag := Tag{Edge: 3, Step: uint64(step), Micro: uint32(i)}
					if err := w[rank].Send(ctx, 1-rank, tag, ramp(n, float32(rank+1))); err != nil {
						return err
					}
				}
				for i, n := range sizes {
					tag := Tag{Edge: 3, Step: uint64(step), Micro: uint32(i)}
					got := make([]float32, n)
					if err := w[rank].Recv(ctx, 1-rank, tag, got); err != nil {
						return err
					}
					if err := sameFloats(got, ramp(n, float32(2-rank))); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

// A receiver may ask for edges in another order than they were sent in.
func TestEdgesAreIndependent(t *testing.T) {
	worlds(t, 2, func(t *testing.T, w []Transport) {
		ctx := testContext(t)
		const n, edges = 4 << 20, 3
		onAll(t, 2, func(rank int) error {
			if rank == 0 {
				for e := range edges {
					if err := w[0].Send(ctx, 1, Tag{Edge: uint32(e)}, ramp(n, float32(e))); err != nil {
						return err
					}
				}
				return nil
			}
			for e := edges - 1; e >= 0; e-- {
				x := ramp(n, 1)
				if err := w[1].RecvAdd(ctx, 0, Tag{Edge: uint32(e)}, x); err != nil {
					return err
				}
				if err := sameFloats(x, ramp(n, float32(e+1))); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func TestSendCopies(t *testing.T) {
	worlds(t, 2, func(t *testing.T, w []Transport) {
		ctx := testContext(t)
		x := ramp(5<<20, 2)
		if err := w[0].Send(ctx, 1, Tag{}, x); err != nil {
			t.Fatal(err)
		}
		clear(x)
		if err := w[1].Recv(ctx, 0, Tag{}, x); err != nil {
			t.Fatal(err)
		}
		if err := sameFloats(x, ramp(5<<20, 2)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBytes(t *testing.T) {
	worlds(t, 2, func(t *testing.T, w []Transport) {
		ctx := testContext(t)
		for i, want := range []string{"", "a", strings.Repeat("xyz", 200_000)} {
			tag := Tag{Micro: uint32(i)}
			if err := w[1].SendBytes(ctx, 0, tag, []byte(want)); err != nil {
				t.Fatal(err)
			}
			got, err := w[0].RecvBytes(ctx, 1, tag)
			if err != nil || string(got) != want {
				t.Fatalf("got %d bytes %v, want %d", len(got), err, len(want))
			}
		}
	})
}

func TestWrongPeer(t *testing.T) {
	worlds(t, 2, func(t *testing.T, w []Transport) {
		ctx := testContext(t)
		for _, peer := range []int{-1, 0, 2} {
			if w[0].Send(ctx, peer, Tag{}, nil) == nil || w[0].Recv(ctx, peer, Tag{}, nil) == nil {
				t.Fatalf("rank 0 of 2 talks to rank %d", peer)
			}
		}
		// A wrong argument does not end the transport.
		onAll(t, 2, func(rank int) error { return w[rank].Send(ctx, 1-rank, Tag{}, nil) })
	})
}

func TestMismatch(t *testing.T) {
	cases := map[string]struct {
		sent, asked Tag
		size        int
	}{
		"step":        {Tag{Step: 4}, Tag{Step: 5}, 10},
		"micro-batch": {Tag{Micro: 4}, Tag{Micro: 5}, 10},
		"size":        {Tag{Step: 4}, Tag{Step: 4, Name: "block0.out"}, 11},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			worlds(t, 3, func(t *testing.T, w []Transport) {
				ctx := testContext(t)
				errs := each(3, func(rank int) error {
					switch rank {
					case 0:
						return w[0].Send(ctx, 1, c.sent, make([]float32, 10))
					case 1:
						return w[1].Recv(ctx, 0, c.asked, make([]float32, c.size))
					}
					return w[2].Recv(ctx, 0, Tag{}, nil) // must not hang
				})
				e := wantAs[*MismatchError](t, errs[1])
				if e.Rank != 1 || e.Peer != 0 || !strings.Contains(e.Error(), c.asked.Name) {
					t.Fatal(e)
				}
				if e := wantAs[*PeerError](t, errs[2]); e.Rank != 1 {
					t.Fatal(e)
				}
				// The transport has ended, with the same error.
				if err := w[1].Send(ctx, 0, Tag{}, nil); !errors.Is(err, errs[1]) {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestTimeout(t *testing.T) {
	worlds(t, 2, func(t *testing.T, w []Transport) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		err := w[0].Recv(ctx, 1, Tag{Edge: 7, Step: 12, Micro: 3, Name: "block3.out"}, make([]float32, 1))
		e := wantAs[*TimeoutError](t, err)
		if !e.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(e)
		}
		for _, part := range []string{"recv", "block3.out", "rank 0", "rank 1", "edge 7", "step 12", "micro-batch 3"} {
			if !strings.Contains(e.Error(), part) {
				t.Errorf("%q does not name %q", e, part)
			}
		}
		wantAs[*PeerError](t, w[1].Recv(testContext(t), 0, Tag{}, make([]float32, 1)))
	})
}

func TestDefaultTimeout(t *testing.T) {
	w := natsWorld(t, dialAll(t, startServer(t).Endpoint(), 2), TransportOptions{Timeout: 20 * time.Millisecond})
	wantAs[*TimeoutError](t, w[0].Recv(context.Background(), 1, Tag{}, nil))
	each(2, func(rank int) error { return w[rank].Close() })
}

func TestCancel(t *testing.T) {
	worlds(t, 2, func(t *testing.T, w []Transport) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := w[0].Recv(ctx, 1, Tag{}, nil); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

func TestClose(t *testing.T) {
	worlds(t, 2, func(t *testing.T, w []Transport) {
		ctx := testContext(t)
		// What was sent before Close arrives, then the peer is known to be gone.
		if err := w[0].Send(ctx, 1, Tag{}, ramp(2<<20, 1)); err != nil {
			t.Fatal(err)
		}
		onAll(t, 2, func(rank int) error {
			if rank == 0 {
				return w[0].Close()
			}
			return w[1].Recv(ctx, 0, Tag{}, make([]float32, 2<<20))
		})
		if e := wantAs[*PeerError](t, w[1].Recv(ctx, 0, Tag{}, nil)); e.Rank != 0 {
			t.Fatal(e)
		}
		if err := w[0].Send(ctx, 1, Tag{}, nil); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	})
}

// Send queues what the receiver does not take, up to a limit.
func TestQueueLimit(t *testing.T) {
	worlds(t, 2, func(t *testing.T, w []Transport) {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		for {
			if err := w[0].Send(ctx, 1, Tag{}, make([]float32, 64<<10)); err != nil {
				wantAs[*TimeoutError](t, err)
				return
			}
		}
	})
}
