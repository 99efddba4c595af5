package comm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// controlTimeout bounds control requests whose context has no deadline.
const controlTimeout = 10 * time.Second

// joinRequest is what a worker asks for.
type joinRequest struct {
	ID string `json:"id"` // random; a request made twice is one request
	Worker
}

// joinReply is the coordinator's answer.
type joinReply struct {
	Rank   int    `json:"rank"`
	Size   int    `json:"size"`
	Leases Leases `json:"leases"`
	Error  string `json:"error,omitempty"`
}

// failure says who failed and why; workers report it, the coordinator spreads it.
type failure struct {
	Rank      int    `json:"rank"` // -1: no worker
	Reason    string `json:"reason"`
	Transient bool   `json:"transient,omitempty"` // see [Transient]
}

// failureOf finds the rank to blame for err: the one that a [PeerError] names,
// or else self.
func failureOf(err error, self int) failure {
	if pe, ok := errors.AsType[*PeerError](err); ok {
		return failure{pe.Rank, pe.Cause.Error(), Transient(err)}
	}
	return failure{self, err.Error(), Transient(err)}
}

// decodeFailure reads a failure. Of one that does not tell its rank that is from.
func decodeFailure(b []byte, from int) failure {
	f := failure{Rank: from}
	if err := json.Unmarshal(b, &f); err != nil {
		f = failure{Rank: from, Reason: string(b)}
	}
	if f.Rank < -1 || f.Rank >= maxRanks {
		f.Rank = from
	}
	f.Reason = shortened(f.Reason)
	return f
}

// kindErrorReport is the kind of the event that carries a failure.
const kindErrorReport = "error"

// within bounds ctx by a life.
func within(ctx, life context.Context) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(life, func() { cancel(context.Cause(life)) })
	return inner, func() {
		stop()
		cancel(nil)
	}
}

// soon is within, bounded by [controlTimeout] too if ctx has no deadline.
func soon(ctx, life context.Context) (context.Context, context.CancelFunc) {
	inner, cancel := within(ctx, life)
	if _, ok := ctx.Deadline(); ok {
		return inner, cancel
	}
	timed, cancelTimed := context.WithTimeout(inner, controlTimeout)
	return timed, func() {
		cancelTimed()
		cancel()
	}
}

// because prefers the cause that ended ctx over the error that followed from it.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// tail returns the last n tokens of a subject.
func tail(subject string, n int) []string {
	t := strings.Split(subject, ".")
	return t[max(0, len(t)-n):]
}

// rankToken reads a rank below size out of a subject or an acknowledgement.
func rankToken(s string, size int) (int, bool) {
	r, err := strconv.Atoi(s)
	return r, err == nil && r >= 0 && r < size
}

// subscriptions are ended together.
type subscriptions struct {
	s    *Session
	subs []*nats.Subscription
}

// on calls handle for each message on a subject, one after the other.
func (l *subscriptions) on(subject string, handle nats.MsgHandler) error {
	sub, err := l.s.control.Subscribe(subject, handle)
	return l.add(sub, err)
}

// queue keeps the messages on a subject until they are asked for.
func (l *subscriptions) queue(subject string) (*nats.Subscription, error) {
	sub, err := l.s.control.SubscribeSync(subject)
	return sub, l.add(sub, err)
}

func (l *subscriptions) add(sub *nats.Subscription, err error) error {
	if err != nil {
		return l.s.connError(fmt.Errorf("subscribing: %w", err))
	}
	l.subs = append(l.subs, sub)
	return nil
}

// flush returns when the server knows the subscriptions.
func (l *subscriptions) flush(ctx context.Context) error {
	ctx, cancel := soon(ctx, l.s.life)
	defer cancel()
	if err := l.s.control.FlushWithContext(ctx); err != nil {
		return l.s.connError(fmt.Errorf("subscribing: %w", because(ctx, err)))
	}
	return nil
}

func (l *subscriptions) close() {
	for _, sub := range l.subs {
		_ = sub.Unsubscribe() // fails only if the connection is gone, and the subscription with it
	}
}
