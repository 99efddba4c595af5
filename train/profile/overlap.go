package profile

import (
	"context"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/cpu/probe"
)

// overlapSeconds is about how long the all-reduce takes that computation is run
// beside.
const overlapSeconds = 0.02

// measureOverlap measures computation alone, an all-reduce over all ranks alone,
// and both at once. Both take about the same time.
func (s *stand) measureOverlap(ctx context.Context, f *found) (err error) {
	if err := s.say("computation beside an all-reduce"); err != nil {
		return err
	}
	bytes := overlapBytes(f.Exchanges, s.member.Size())
	m := newMessages([]int64{bytes})
	defer m.free()
	// Three figures decide about one number: they are worth more turns.
	long := *s
	long.spec.Window *= 4
	s = &long
	exchange := func() error { return s.world.AllReduce(ctx, "overlap", m.a) }
	o := &f.Overlap
	if o.Exchange, err = s.measure(ctx, "all-reduce alone", exchange); err != nil {
		return err
	}
	var operands probe.Arena
	defer operands.Free()
	product := probe.Linear(&operands, 128, 256, 256)[0]
	once, err := s.measure(ctx, "product", func() error { kernel.Gemm(s.pool, product.Args); return nil })
	if err != nil {
		return err
	}
	repeat := max(1, int(o.Exchange.Seconds/once.Seconds+0.5))
	compute := func() error {
		for range repeat {
			kernel.Gemm(s.pool, product.Args)
		}
		return nil
	}
	if o.Compute, err = s.measure(ctx, "computation alone", compute); err != nil {
		return err
	}
	o.Both, err = s.measure(ctx, "computation beside an all-reduce", func() error { return beside(compute, exchange) })
	return err
}

// beside runs both, the second on another goroutine, as exec does.
func beside(compute, exchange func() error) error {
	done := make(chan error, 1)
	go func() { done <- exchange() }()
	err := compute()
	if e := <-done; e != nil {
		return e
	}
	return err
}

// overlapBytes is the size of the all-reduce over all ranks that takes nearest
// to overlapSeconds, of those measured.
func overlapBytes(all []series, ranks int) (bytes int64) {
	for _, r := range all {
		if r.Kind != kindAllReduce || r.Layout.Ranks != ranks {
			continue
		}
		for i, t := range r.Times {
			if bytes == 0 || t.Seconds <= overlapSeconds {
				bytes = r.Bytes[i]
			}
		}
	}
	return bytes
}

// slowdown is k of T = k*min + (max-min): how many times slower computation and
// exchange run while both do; 1 to 2.
func (o *overlap) slowdown() float64 {
	least, most := min(o.Compute.Seconds, o.Exchange.Seconds), max(o.Compute.Seconds, o.Exchange.Seconds)
	if least <= 0 {
		return 1
	}
	return min(max((o.Both.Seconds-(most-least))/least, 1), 2)
}
