package exec

import (
	"context"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/graph"
)

// async is how an instruction runs beside others.
type async struct {
	exchangeIndex int     // of an exchange, among those of the program
	next          bool    // the instruction after it waits for it
	early         bool    // of the epilogue, but may start in the step's last backward pass
	begins, ends  int     // positions between which an exchange may be under way
	waits         []*step // exchanges that must have ended before
	// What starts after the instruction in the step's last backward pass, or in
	// the epilogue.
	starts  []int // exchanges, by their index in the epilogue
	buckets []*bucket
}

// keep keeps what an exchange works on until it has ended.
func (s *step) keep() {
	if s.exchange == nil {
		return
	}
	for _, v := range slices.Concat(s.in, s.out) {
		v.buf.end = max(v.buf.end, s.ends)
	}
}

// overlap plans what runs beside the computation: an exchange starts at its
// place, and is waited for before the first instruction that touches what it
// writes or overwrites what it reads. That another exchange does so needs no
// waiting, since exchanges run one after the other. Staging memory is in use
// only while they run, so they share it.
func (c *compiler) overlap() {
	for _, s := range c.steps() {
		s.begins, s.ends = s.pos, s.pos
	}
	c.beside = c.overlaps() && c.needsComm()
	if !c.beside {
		return
	}
	c.planWaits(slices.Concat(c.prologue, c.Program.forward), c.border-1)
	c.planWaits(slices.Concat(c.Program.backward, c.epilogue), c.pos)
	c.startEpilogueEarly()
	c.startBucketsEarly()
}

// overlaps reports whether exchanges may run beside the computation.
func (c *compiler) overlaps() bool { return c.opts.does(Overlap) }

// planWaits says what waits for which exchange; those that nothing waits for end
// with the pass, at position end.
func (c *compiler) planWaits(steps []*step, end int) {
	touched, written := map[*value]*step{}, map[*value]*step{} // next by another than an exchange
	for i := len(steps) - 1; i >= 0; i-- {
		s := steps[i]
		if s.exchange == nil {
			for _, v := range s.in {
				touched[v] = s
			}
			for _, v := range s.out {
				touched[v], written[v] = s, s
			}
			continue
		}
		s.exchangeIndex = c.exchanges
		c.exchanges++
		var waiting *step
		note := func(t *step) {
			if t != nil && (waiting == nil || t.pos < waiting.pos) {
				waiting = t
			}
		}
		for _, v := range s.out {
			note(touched[v])
		}
		for _, v := range s.in {
			note(written[v])
		}
		if waiting == nil {
			waiting = c.settles(s, steps[i+1:])
		}
		s.ends = end
		if waiting != nil {
			s.ends = waiting.pos
			s.next = waiting.pos == s.pos+1
			waiting.waits = append(waiting.waits, s)
		}
	}
}

// settles is the instruction of those after s that waits for an exchange
// that nothing reads, nil if the pass ends before.
func (c *compiler) settles(s *step, after []*step) *step {
	for _, pos := range c.settled {
		if pos > s.pos && len(after) > 0 && pos <= after[len(after)-1].pos {
			return after[pos-after[0].pos]
		}
	}
	return nil
}

// startEpilogueEarly lets exchanges of the epilogue start as soon as the last
// backward pass of a step has written what they work on.
func (c *compiler) startEpilogueEarly() {
	last := writers{}
	last.add(c.Program.backward)
	for i, s := range c.epilogue {
		after := last.latest(slices.Concat(s.in, s.out))
		if s.exchange != nil && after != nil && after.pos < c.epilogue[0].pos {
			s.early, s.begins = true, after.pos
			after.starts = append(after.starts, i)
		}
		last.add(c.epilogue[i : i+1])
	}
}

// writers holds the last instruction that wrote each value.
type writers map[*value]*step

func (w writers) add(steps []*step) {
	for _, s := range steps {
		for _, v := range s.out {
			w[v] = s
		}
	}
}

// latest is the last that wrote any of the values, nil if none did.
func (w writers) latest(values []*value) *step {
	var s *step
	for _, v := range values {
		if t := w[v]; t != nil && (s == nil || t.pos > s.pos) {
			s = t
		}
	}
	return s
}

// startBucketsEarly lets sums over ranks start after the last gradient of a
// bucket is written. Ranks that run different stages meet in the update only,
// lest one waits for the other before it sends what the other waits for.
func (c *compiler) startBucketsEarly() {
	last := writers{}
	last.add(c.Program.backward)
	last.add(c.epilogue)
	for _, b := range c.Program.buckets {
		for b.early < len(b.groups) && !graph.AcrossStages(b.groups[b.early]) {
			b.early++
		}
		var grads []*value
		for _, s := range b.shards {
			grads = append(grads, s.grad.value)
		}
		if after := last.latest(grads); after != nil && b.early > 0 {
			after.buckets = append(after.buckets, b)
		} else {
			b.early = 0
		}
	}
}

// start starts an exchange.
func (m *Machine) start(ctx context.Context, s *instruction, mb MicroBatch, first bool) {
	a := m.arguments(s, mb, first)
	m.queue.tickets[s.exchangeIndex] = m.queue.put(ctx, job{run: s, args: a, mb: mb})
}

// startReady starts what the instruction s was the last to hold up.
func (m *Machine) startReady(ctx context.Context, s *instruction, mb MicroBatch) {
	if !m.reducing {
		return
	}
	for _, i := range s.starts {
		m.start(ctx, &m.epilogue[i], mb, true)
	}
	for _, b := range s.buckets {
		m.startBucket(ctx, b, b.groups[:b.early])
	}
}

func (m *Machine) startBucket(ctx context.Context, b *bucket, groups []string) {
	if len(groups) > 0 {
		m.queue.put(ctx, job{bucket: b, groups: groups, mb: m.last})
	}
}

// awaitAll waits until exchanges have ended.
func (m *Machine) awaitAll(ctx context.Context, exchanges []*step) error {
	if m.queue == nil {
		return nil
	}
	for _, s := range exchanges {
		if err := m.await(ctx, m.queue.tickets[s.exchangeIndex]); err != nil {
			return err
		}
	}
	return nil
}

// await waits until a job has ended, and so all before it.
func (m *Machine) await(ctx context.Context, ticket uint64) error {
	q := m.queue
	for q.done < ticket {
		start := time.Now()
		r := q.take(ctx)
		if r.bucket != nil {
			m.summed(r.groups, time.Since(start))
		} else {
			m.took(r.run.step, time.Since(start))
		}
		switch {
		case r.err == nil:
		case r.bucket != nil:
			return bucketFailure(r.bucket, r.mb, r.err)
		default:
			return m.failure(r.run, r.mb, r.err)
		}
	}
	return nil
}

// finish ends a pass: all that ran beside it has ended.
func (m *Machine) finish(ctx context.Context, err error) error {
	defer m.computing.at.Store(nil)
	if m.queue == nil {
		return err
	}
	if err == nil {
		err = m.await(ctx, m.queue.issued)
	}
	m.reducing = false
	if err != nil {
		m.queue.abort()
		m.prepared = 0
	}
	return err
}
