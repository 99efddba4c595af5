package profile

import (
	"context"
	"fmt"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/cpu/probe"
)

// callLimit is the time of a call in seconds from which larger ones are not
// measured.
const callLimit = 0.1

// measureExchanges measures every exchange over groups of every layout: all
// groups alike at the same time.
func (s *stand) measureExchanges(ctx context.Context, f *found) error {
	all := layouts(s.member.Size())
	m := newMessages(s.spec.Sizes)
	defer m.free()
	if len(all) == 0 {
		return nil
	}
	between, err := s.newComputation(ctx)
	if err != nil {
		return err
	}
	defer between.operands.Free()
	for i, l := range all {
		if err := s.say("exchanges of %d ranks, stride %d (%d of %d)", l.Ranks, l.Stride, i+1, len(all)); err != nil {
			return err
		}
		g, err := newGroup(s.transport, l, uint32(worldID+1+i))
		if err != nil {
			return err
		}
		for _, kind := range kinds {
			if kind == kindSend && l.Ranks != 2 {
				continue
			}
			r, err := s.measureSeries(ctx, g, l, kind, m, between)
			if err != nil {
				return err
			}
			f.Exchanges = append(f.Exchanges, r)
		}
	}
	return nil
}

// betweenSeconds is about how long ranks compute between two exchanges.
const betweenSeconds = 0.001

// computation is what ranks compute between two exchanges that are measured.
type computation struct {
	operands probe.Arena
	run      func()
	seconds  float64 // while all ranks do
}

// newComputation measures a matrix product or several, to be freed.
func (s *stand) newComputation(ctx context.Context) (*computation, error) {
	c := &computation{}
	product := probe.Linear(&c.operands, 128, 256, 256)[0]
	once, err := s.measure(ctx, "product", func() error { kernel.Gemm(s.pool, product.Args); return nil })
	if err == nil {
		repeat := max(1, int(betweenSeconds/once.Seconds+0.5))
		c.run = func() {
			for range repeat {
				kernel.Gemm(s.pool, product.Args)
			}
		}
		var all figure
		all, err = s.measure(ctx, "products", func() error { c.run(); return nil })
		c.seconds = all.Seconds
	}
	if err != nil {
		c.operands.Free()
	}
	return c, err
}

// measureSeries measures one exchange over sizes, up to that whose call takes
// too long. Ranks compute between two exchanges, as they do in training, and what
// they take more than that computation counts: caches that are cold after an
// exchange, and what the processors still do for it, are its own.
func (s *stand) measureSeries(ctx context.Context, g *comm.Group, l layout, kind string, m *messages, between *computation) (series, error) {
	r := series{Kind: kind, Layout: l}
	for _, bytes := range s.spec.Sizes {
		call := s.caller(ctx, g, l, kind, m, int(bytes/4), between)
		t, err := s.measure(ctx, fmt.Sprintf("%s of %d bytes", kind, bytes), call)
		if err != nil {
			return r, err
		}
		if kind == kindSend {
			t.Seconds /= 2 // there and back
		}
		t = t.less(between.seconds)
		r.Bytes, r.Times = append(r.Bytes, bytes), append(r.Times, t)
		if t.Seconds > callLimit {
			break
		}
	}
	return r, nil
}

// The exchanges that are measured, as graph names its operations.
const (
	kindAllReduce     = "all_reduce"
	kindAllGather     = "all_gather"
	kindReduceScatter = "reduce_scatter"
	kindAllToAll      = "all_to_all"
	kindRotate        = "rotate"
	kindSend          = "send"
)

var kinds = []string{kindAllReduce, kindAllGather, kindReduceScatter, kindAllToAll, kindRotate, kindSend}

// caller makes one exchange of a tensor of n elements after a computation: before
// a reduction, after a gather, and otherwise what a rank has.
func (s *stand) caller(ctx context.Context, g *comm.Group, l layout, kind string, m *messages, n int, between *computation) func() error {
	whole := m.a[:n]
	lo, hi := comm.Shard(n, g.Size(), g.Rank())
	part := m.b[:hi-lo]
	var exchange func() error
	switch kind {
	case kindAllReduce:
		exchange = func() error { return g.AllReduce(ctx, kind, whole) }
	case kindAllGather:
		exchange = func() error { return g.AllGather(ctx, kind, whole, part) }
	case kindReduceScatter:
		exchange = func() error { return g.ReduceScatter(ctx, kind, part, whole) }
	case kindAllToAll:
		exchange = func() error { return g.AllToAll(ctx, kind, m.b[:g.Size()*len(part)], whole) }
	case kindRotate:
		exchange = func() error { return g.Rotate(ctx, kind, m.b[:n], whole, 1) }
	default:
		return s.sender(ctx, l, whole, between)
	}
	return func() error {
		between.run()
		return exchange()
	}
}

// sender sends x to the other rank of a pair, which sends it back: one way alone
// cannot be told from how the ranks' clocks differ. Each computes before it sends,
// as a stage does.
func (s *stand) sender(ctx context.Context, l layout, x []float32, between *computation) func() error {
	pair, place := l.group(s.member.Rank())
	peer := pair[1-place]
	return func() error {
		s.sends++
		tag := comm.Tag{Edge: 1, Step: s.sends, Name: kindSend}
		send := func() error {
			between.run()
			return s.transport.Send(ctx, peer, tag, x)
		}
		receive := func() error { return s.transport.Recv(ctx, peer, tag, x) }
		first, then := send, receive
		if place == 1 {
			first, then = receive, send
		}
		if err := first(); err != nil {
			return err
		}
		return then()
	}
}

// messages are the tensors that are exchanged.
type messages struct{ a, b []float32 }

// newMessages makes tensors of the largest of sizes. Their elements stay zero,
// so that no sum overflows; writing them brings the memory in.
func newMessages(sizes []int64) *messages {
	n := 0
	if len(sizes) > 0 {
		n = int(sizes[len(sizes)-1] / 4)
	}
	// A rank's part of an all-to-all may be one element larger than others.
	m := &messages{kernel.Alloc(n), kernel.Alloc(n + 1024)}
	clear(m.a)
	clear(m.b)
	return m
}

func (m *messages) free() {
	kernel.Free(m.a)
	kernel.Free(m.b)
}
