package comm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// Distribute hands every worker its job spec, at most the payload limit of the
// server, and returns when all have taken it by [Member.Spec].
func (c *Coordinator) Distribute(ctx context.Context, spec func(rank int) []byte) error {
	limit := int(c.session.control.MaxPayload())
	return c.ask(ctx, "job spec", func(w *memberState, reply string) error {
		b := spec(w.Rank)
		if len(b) > limit {
			return fmt.Errorf("comm: the job spec of rank %d has %d bytes, the NATS server takes %d: make it smaller or raise max_payload", w.Rank, len(b), limit)
		}
		return c.session.control.PublishRequest(c.opt.Job.subject("spec", w.id), reply, b)
	})
}

// Broadcast sends a command to all workers and returns when each has queued it.
func (c *Coordinator) Broadcast(ctx context.Context, kind string, data []byte) error {
	if err := checkToken("command", kind); err != nil {
		return err
	}
	sent := false
	return c.ask(ctx, "command "+kind, func(_ *memberState, reply string) error {
		if sent {
			return nil
		}
		sent = true
		return c.session.control.PublishRequest(c.opt.Job.subject("cmd", kind), reply, data)
	})
}

// ask calls send for each worker that has joined and not left, and waits until
// all have answered on the reply subject.
func (c *Coordinator) ask(ctx context.Context, what string, send func(w *memberState, reply string) error) error {
	ctx, cancel := soon(ctx, c.life)
	defer cancel()
	inbox := nats.NewInbox()
	sub, err := c.session.control.SubscribeSync(inbox)
	if err != nil {
		return c.session.connError(err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only if the connection is gone
	waiting := map[int]bool{}
	for _, w := range c.present() {
		if err := send(w, inbox); err != nil {
			return fmt.Errorf("comm: sending the %s: %w", what, because(ctx, err))
		}
		waiting[w.Rank] = true
	}
	for len(waiting) > 0 {
		m, err := sub.NextMsg(100 * time.Millisecond)
		switch {
		case err == nil:
			if r, ok := rankToken(string(m.Data), len(c.members)); ok {
				delete(waiting, r)
			}
		case ctx.Err() != nil || !errors.Is(err, nats.ErrTimeout):
			return fmt.Errorf("comm: %s: ranks %v have not acknowledged it: %w", what, slices.Sorted(maps.Keys(waiting)), because(ctx, err))
		default:
			c.forgetLeft(waiting)
		}
	}
	return nil
}

// present lists the workers that have joined and not left.
func (c *Coordinator) present() []*memberState {
	c.mu.Lock()
	defer c.mu.Unlock()
	var in []*memberState
	for _, w := range c.members {
		if w != nil && !w.left {
			in = append(in, w)
		}
	}
	return in
}

// forgetLeft takes out those who left without an answer.
func (c *Coordinator) forgetLeft(waiting map[int]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range waiting {
		if c.members[r].left {
			delete(waiting, r)
		}
	}
}
