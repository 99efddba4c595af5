package comm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if job := os.Getenv("COMM_TEST_WORKER"); job != "" {
		os.Exit(workerProcess(job))
	}
	hostAddresses = func() ([]string, error) { return []string{"127.0.0.1"}, nil }
	goleak.VerifyTestMain(m)
}

// testDeadline bounds what a test waits for; it is no measurement.
const testDeadline = 20 * time.Second

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testDeadline)
	t.Cleanup(cancel)
	return ctx
}

func startServer(t testing.TB) *Server {
	t.Helper()
	s, err := Start(ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func dial(t testing.TB, e Endpoint) *Session {
	t.Helper()
	s, err := Dial(testContext(t), e, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func dialAll(t testing.TB, e Endpoint, n int) []*Session {
	t.Helper()
	all := make([]*Session, n)
	for i := range n {
		all[i] = dial(t, e)
	}
	return all
}

// epochs gives every world of a test its own epoch.
var epochs atomic.Uint32

// tampering replaces the data frames of one rank.
type tampering func(frame []byte) [][]byte

// natsWorld opens a transport between the sessions.
func natsWorld(t testing.TB, sessions []*Session, o TransportOptions, tamper ...tampering) []Transport {
	t.Helper()
	job := Job{ID: "test", Epoch: epochs.Add(1)}
	world := make([]Transport, len(sessions))
	onAll(t, len(sessions), func(rank int) error {
		var f tampering
		if rank < len(tamper) {
			f = tamper[rank]
		}
		tr, err := openNATS(testContext(t), sessions[rank], job, rank, len(sessions), o, f)
		if err == nil {
			world[rank] = tr
		}
		return err
	})
	return world
}

func closeAll(t testing.TB, world []Transport) {
	t.Helper()
	if errs := each(len(world), func(rank int) error { return world[rank].Close() }); errors.Join(errs...) != nil {
		t.Fatalf("%q", errs)
	}
}

// each runs f for every rank at once and returns the errors by rank.
func each(n int, f func(rank int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for rank := range n {
		wg.Go(func() { errs[rank] = f(rank) })
	}
	wg.Wait()
	return errs
}

// onAll is each for what must succeed.
func onAll(t testing.TB, n int, f func(rank int) error) {
	t.Helper()
	for rank, err := range each(n, f) {
		if err != nil {
			t.Fatalf("rank %d: %v", rank, err)
		}
	}
}

// planeWorld opens a transport over the planes allowed, the ranks on hosts.
func planeWorld(t testing.TB, sessions []*Session, p Plane, hosts []string, o TransportOptions) ([]Transport, Routes) {
	t.Helper()
	job := Job{ID: "test", Epoch: epochs.Add(1)}
	world, routes := make([]Transport, len(sessions)), make([]Routes, len(sessions))
	onAll(t, len(sessions), func(rank int) (err error) {
		o := o
		o.Plane = p
		if rank < len(hosts) {
			o.host = hosts[rank]
		}
		world[rank], routes[rank], err = Connect(testContext(t), sessions[rank], job, rank, len(sessions), o)
		return err
	})
	for rank := range routes {
		if !reflect.DeepEqual(routes[rank], routes[0]) {
			t.Fatalf("rank %d sees %v, rank 0 %v", rank, routes[rank], routes[0])
		}
	}
	return world, routes[0]
}

// apart are hosts of their own.
func apart(n int) []string {
	var hosts []string
	for i := range n {
		hosts = append(hosts, fmt.Sprint("host", i))
	}
	return hosts
}

// worlds runs a test over all transports with n ranks.
func worlds(t *testing.T, n int, test func(t *testing.T, world []Transport)) {
	t.Run("local", func(t *testing.T) {
		world := Local(n)
		test(t, world)
		each(n, func(rank int) error { return world[rank].Close() })
	})
	t.Run("nats", func(t *testing.T) {
		world := natsWorld(t, dialAll(t, startServer(t).Endpoint(), n), TransportOptions{})
		test(t, world)
		each(n, func(rank int) error { return world[rank].Close() })
	})
	for _, c := range []struct {
		name  string
		plane Plane
		hosts []string
	}{{"tcp", TCP, nil}, {"tcp between hosts", TCP, apart(n)}, {"shm", SHM, nil}} {
		t.Run(c.name, func(t *testing.T) {
			world, _ := planeWorld(t, dialAll(t, startServer(t).Endpoint(), n), c.plane, c.hosts, TransportOptions{})
			test(t, world)
			each(n, func(rank int) error { return world[rank].Close() })
		})
	}
}

// wantAs fails the test unless err holds a T, which it returns.
func wantAs[T error](t testing.TB, err error) T {
	t.Helper()
	v, ok := errors.AsType[T](err)
	if !ok {
		t.Fatalf("got %T %v, want %T", err, err, v)
	}
	return v
}

func ramp(n int, k float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = k * float32(i%977)
	}
	return x
}

// sameFloats compares bits.
func sameFloats(got, want []float32) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d elements, want %d", len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			return fmt.Errorf("element %d is %v, want %v", i, got[i], want[i])
		}
	}
	return nil
}
