package comm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Session is the link of one process to the NATS server: a connection for
// tensors and one for control. Whatever goes wrong on either, a disconnect, a
// slow consumer, a refused subject, ends the session for good; the first error
// counts, and everything that waits on the session returns it.
type Session struct {
	endpoint Endpoint
	data     *nats.Conn
	control  *nats.Conn
	life     context.Context
	end      context.CancelCauseFunc
}

// Dial connects to a server. name appears in the server's logs. The session
// outlives ctx, which bounds only the dialling.
func Dial(ctx context.Context, e Endpoint, name string) (*Session, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	s := &Session{endpoint: e}
	s.life, s.end = context.WithCancelCause(context.Background())
	var err error
	if s.control, err = s.connect(ctx, name+" control"); err == nil {
		s.data, err = s.connect(ctx, name+" data")
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// connect opens one connection that reports every trouble to the session.
func (s *Session) connect(ctx context.Context, name string) (*nats.Conn, error) {
	auth, err := s.endpoint.auth()
	if err != nil {
		return nil, err
	}
	timeout := 5 * time.Second
	if t, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(t))
	}
	if err := ctx.Err(); err != nil || timeout <= 0 {
		return nil, s.connError(fmt.Errorf("cannot connect: %w", context.DeadlineExceeded))
	}
	nc, err := nats.Connect(s.endpoint.URL,
		auth,
		nats.Name(name),
		nats.Timeout(timeout),
		// A message that waits for a reconnect is lost as often as not. Fail
		// instead, and fail fast: a busy publisher blocks the pings, so the
		// flusher needs its own deadline.
		nats.NoReconnect(),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(500*time.Millisecond),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(time.Second),
		nats.SkipSubjectValidation(), // subjects are made here, from checked parts
		nats.NoCallbacksAfterClientClose(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { s.lost(name, err) }),
		nats.ClosedHandler(func(nc *nats.Conn) { s.lost(name, nc.LastError()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			s.fail(s.connError(fmt.Errorf("%s connection: %w", name, err)))
		}),
	)
	if err != nil {
		return nil, s.connError(fmt.Errorf("cannot connect: %w: check the address, and that the server is up and admits this user", err))
	}
	return nc, nil
}

// lost records that a connection broke.
func (s *Session) lost(name string, err error) {
	if err == nil {
		err = errors.New("closed by the server")
	}
	s.fail(s.connError(fmt.Errorf("%s connection lost: %w", name, err)))
}

func (s *Session) connError(err error) error {
	return &ConnError{Server: s.endpoint.String(), Cause: err}
}

// fail ends the session with err, unless it has ended already. The connections
// stay, so that a last word to the others may still get out, until Close.
func (s *Session) fail(err error) { s.end(err) }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.life.Done() }

// Err returns the error that ended the session: nil while it lives, [ErrClosed]
// after Close.
func (s *Session) Err() error { return context.Cause(s.life) }

// Close sends what is buffered and closes both connections. Transports and the
// member or coordinator that use the session end with [ErrClosed]; close them
// before.
func (s *Session) Close() error {
	s.end(ErrClosed)
	for _, nc := range []*nats.Conn{s.data, s.control} {
		if nc != nil {
			nc.Close()
		}
	}
	return nil
}
