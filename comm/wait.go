package comm

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// waiter blocks on behalf of the one goroutine that uses an edge in one
// direction. It reuses its timer, so waiting allocates nothing.
type waiter struct {
	life    context.Context // of the transport; its cause is the first error
	timeout time.Duration   // for contexts without a deadline
	timer   *time.Timer
	record  waitRecord // of the wait under way
}

// await returns nil when ready fires. Otherwise it returns the error that ended
// the transport, [context.DeadlineExceeded] if the deadline passed, or why the
// caller cancelled.
func (w *waiter) await(ctx context.Context, ready <-chan struct{}) error {
	_, err := w.race(ctx, ready, nil, nil)
	return err
}

// race is await for the first of ready, other, which may be nil, and a token put
// into lead, which may be nil too.
func (w *waiter) race(ctx context.Context, ready, other <-chan struct{}, lead chan<- struct{}) (outcome, error) {
	var expired <-chan time.Time
	if _, ok := ctx.Deadline(); !ok {
		if w.timer == nil {
			w.timer = time.NewTimer(w.timeout)
		} else {
			w.timer.Reset(w.timeout)
		}
		defer w.timer.Stop()
		expired = w.timer.C
	}
	select {
	case <-ready:
		return isReady, nil
	case <-other:
		return isOther, nil
	case lead <- struct{}{}:
		return leads, nil
	case <-w.life.Done():
		return 0, context.Cause(w.life)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-expired:
		return 0, context.DeadlineExceeded
	}
}

// outcome says which of the things that race waits for came first.
type outcome int

const (
	isReady outcome = 1 + iota
	isOther
	leads
)

// explain turns the error of a wait into one that says what was waited for.
func explain(err error, op string, rank, peer int, tag Tag, since time.Time) error {
	switch {
	case errors.As(err, new(*TimeoutError)):
		return err // of another wait, which ended the life of this one
	case errors.Is(err, context.DeadlineExceeded):
		return &TimeoutError{Op: op, Rank: rank, Peer: peer, Tag: tag, Waited: time.Since(since)}
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("comm: %s at rank %d with rank %d (%v): %w", op, rank, peer, tag, err)
	}
	return err
}

// notify makes ready, of capacity 1, fire once.
func notify(ready chan<- struct{}) {
	select {
	case ready <- struct{}{}:
	default:
	}
}
