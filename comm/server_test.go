package comm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestServer(t *testing.T) {
	var log bytes.Buffer
	s, err := Start(ServerOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.URL(), "nats://127.0.0.1:") {
		t.Errorf("listens on %s", s.URL())
	}
	session := dial(t, s.Endpoint())
	if n := session.data.MaxPayload(); n != MaxPayload {
		t.Errorf("takes %d bytes", n)
	}
	s.Shutdown()
	<-session.Done()
	wantAs[*ConnError](t, session.Err())
	if !strings.Contains(log.String(), "Listening for client connections") || strings.Contains(log.String(), s.seed) {
		t.Errorf("log: %s", &log)
	}
}

func TestServerAdmitsItsUserOnly(t *testing.T) {
	s, other := startServer(t), startServer(t)
	for name, e := range map[string]Endpoint{
		"no credentials": {URL: s.URL()},
		"another job":    {URL: s.URL(), Seed: other.seed},
		"bad seed":       {URL: s.URL(), Seed: "SUSECRET"},
		"password":       {URL: strings.Replace(s.URL(), "//", "//user:hunter2@", 1)},
		"token":          {URL: strings.Replace(s.URL(), "//", "//hunter2@", 1)},
	} {
		_, err := Dial(testContext(t), e, "test")
		if err == nil {
			t.Errorf("%s: admitted", name)
			continue
		}
		for _, secret := range []string{"hunter2", "SUSECRET", other.seed} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error tells a secret: %v", name, err)
			}
		}
		if !strings.Contains(err.Error(), s.URL()) {
			t.Errorf("%s: the error does not name the server: %v", name, err)
		}
	}
}

func TestEndpoint(t *testing.T) {
	e := Endpoint{URL: "nats://u:hunter2@a:1, tls://hunter3@b:2,hunter4@c:3", Seed: "SUX"}
	const want = "nats://a:1,tls://b:2,c:3"
	for _, got := range []string{e.String(), fmt.Sprintf("%v", e), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestDialBadURL(t *testing.T) {
	for _, u := range []string{"", "nats://", "nats://u:hunter2@h:port", "u:hunter2@[", "nats://%zz:hunter2@h"} {
		_, err := Dial(testContext(t), Endpoint{URL: u}, "test")
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", u, err)
		}
	}
}

func TestDialNobody(t *testing.T) {
	_, err := Dial(testContext(t), Endpoint{URL: "nats://127.0.0.1:1"}, "test")
	wantAs[*ConnError](t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	if _, err := Dial(ctx, Endpoint{URL: "nats://127.0.0.1:1"}, "test"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// What the client library reports out of band ends the session.
func TestSlowConsumer(t *testing.T) {
	s := dial(t, startServer(t).Endpoint())
	sub, err := s.data.SubscribeSync("x")
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(1, -1); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.data.Publish("x", nil); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-s.Done():
	case <-time.After(testDeadline):
	}
	if !errors.Is(s.Err(), nats.ErrSlowConsumer) {
		t.Fatal(s.Err())
	}
}

func TestSessionClose(t *testing.T) {
	s := dial(t, startServer(t).Endpoint())
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	if err := s.Close(); err != nil || !errors.Is(s.Err(), ErrClosed) {
		t.Fatal(err, s.Err())
	}
}

func TestConnectRefuses(t *testing.T) {
	s := dial(t, startServer(t).Endpoint())
	ctx := testContext(t)
	for name, open := range map[string]func() (Transport, Routes, error){
		"job":  func() (Transport, Routes, error) { return Connect(ctx, s, Job{ID: "a.b"}, 0, 1, TransportOptions{}) },
		"rank": func() (Transport, Routes, error) { return Connect(ctx, s, NewJob(), 2, 2, TransportOptions{}) },
		"options": func() (Transport, Routes, error) {
			return Connect(ctx, s, NewJob(), 0, 1, TransportOptions{Window: -1})
		},
	} {
		if _, _, err := open(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	_, _, err := Connect(context.Background(), s, NewJob(), 0, 3, TransportOptions{Timeout: 20 * time.Millisecond})
	if e := wantAs[*TimeoutError](t, err); !strings.Contains(e.Error(), "[1 2]") {
		t.Errorf("%q does not name the missing ranks", e)
	}
}
