package comm

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParsePlane(t *testing.T) {
	for _, p := range []Plane{Auto, NATS, TCP, SHM} {
		if got, err := ParsePlane(string(p)); err != nil || got != p {
			t.Errorf("%s: %v %v", p, got, err)
		}
	}
	if _, err := ParsePlane("carrier pigeon"); err == nil || !strings.Contains(err.Error(), "auto, nats, tcp, shm") {
		t.Error(err)
	}
}

// Each pair of ranks gets the best plane that joins it, and the text says so.
func TestRoutes(t *testing.T) {
	sessions := dialAll(t, startServer(t).Endpoint(), 4)
	for want, c := range map[string]struct {
		plane Plane
		hosts []string
	}{
		"nats (4 ranks on one host)":                            {NATS, nil},
		"tcp (4 ranks on one host)":                             {TCP, nil},
		"shm (4 ranks on one host)":                             {Auto, nil},
		"shm for 2 pairs, tcp for 4 pairs (4 ranks on 2 hosts)": {Auto, []string{"a", "a", "b", "b"}},
		"tcp (4 ranks on 4 hosts)":                              {Auto, apart(4)},
		"shm for 1 pair, tcp for 5 pairs (4 ranks on 3 hosts)":  {Auto, []string{"a", "b", "a", "c"}},
	} {
		t.Run(want, func(t *testing.T) {
			world, routes := planeWorld(t, sessions, c.plane, c.hosts, TransportOptions{})
			if got := routes.String(); got != want || len(routes.Notes) > 0 {
				t.Errorf("%s %v, want %s", got, routes.Notes, want)
			}
			var id uint32
			onAll(t, 4, func(rank int) error {
				g, err := NewGroup(world[rank], id, every(4))
				if err != nil {
					return err
				}
				x := append(Alloc(world[rank], 50_000)[:0], noise(50_000, rank)...)
				if err := g.AllReduce(testContext(t), "grads", x); err != nil {
					return err
				}
				return near(x, [][]float32{noise(50_000, 0), noise(50_000, 1), noise(50_000, 2), noise(50_000, 3)})
			})
			closeAll(t, world)
		})
	}
}

// Where a plane does not work, auto takes the next and says so; asked for by name,
// it is an error on all ranks.
func TestPlaneFallsBack(t *testing.T) {
	usual, limit := hostAddresses, openTimeout
	hostAddresses, openTimeout = func() ([]string, error) { return nil, nil }, 100*time.Millisecond
	defer func() { hostAddresses, openTimeout = usual, limit }()
	sessions := dialAll(t, startServer(t).Endpoint(), 2)
	world, routes := planeWorld(t, sessions, Auto, apart(2), TransportOptions{})
	if routes.Plane[0][1] != NATS || len(routes.Notes) != 1 || !strings.Contains(routes.Notes[0], "tcp cannot join ranks 0 and 1: it has no address") {
		t.Errorf("%v %q", routes, routes.Notes)
	}
	closeAll(t, world)
	for _, c := range []struct {
		plane Plane
		want  string
	}{{TCP, "no address"}, {SHM, "which are on hosts [0 1]: use auto"}} {
		job := Job{ID: "test", Epoch: epochs.Add(1)}
		for rank, err := range each(2, func(rank int) error {
			_, _, err := Connect(testContext(t), sessions[rank], job, rank, 2, TransportOptions{Plane: c.plane, host: fmt.Sprint(rank)})
			return err
		}) {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, rank %d: %v", c.plane, rank, err)
			}
		}
	}
}

// Ranks that ask for different planes are told.
func TestPlanesDiffer(t *testing.T) {
	sessions := dialAll(t, startServer(t).Endpoint(), 2)
	job := Job{ID: "test", Epoch: epochs.Add(1)}
	for rank, err := range each(2, func(rank int) error {
		_, _, err := Connect(testContext(t), sessions[rank], job, rank, 2, TransportOptions{Plane: []Plane{TCP, SHM}[rank]})
		return err
	}) {
		if err == nil || !strings.Contains(err.Error(), "give all the same") && !errors.As(err, new(*PeerError)) {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

// A rank that vanishes, without a word over NATS, is an error of those it has links
// with.
func TestLinkBreaks(t *testing.T) {
	w, _ := planeWorld(t, dialAll(t, startServer(t).Endpoint(), 2), TCP, nil, TransportOptions{})
	w[0].(*natsTransport).linked.closeAll()
	err := w[1].Recv(testContext(t), 0, Tag{}, make([]float32, 1))
	if e := wantAs[*PeerError](t, err); e.Rank != 0 {
		t.Fatal(e)
	}
	each(2, func(rank int) error { return w[rank].Close() })
}

// One that stops taking part is found by the deadline, in a collective in place
// too, and nobody waits longer.
func TestSilentMember(t *testing.T) {
	for _, p := range []Plane{TCP, SHM} {
		t.Run(string(p), func(t *testing.T) {
			w, _ := planeWorld(t, dialAll(t, startServer(t).Endpoint(), 3), p, nil, TransportOptions{Timeout: 50 * time.Millisecond})
			late := 0
			for rank, err := range each(3, func(rank int) error {
				g, err := NewGroup(w[rank], 0, every(3))
				if err != nil || rank == 2 {
					return err
				}
				return g.AllReduce(t.Context(), "grads", Alloc(w[rank], 100_000))
			}) {
				if rank < 2 && err == nil {
					t.Errorf("rank %d: no error", rank)
				}
				if errors.As(err, new(*TimeoutError)) {
					late++
				}
			}
			if late == 0 {
				t.Error("nobody names the deadline")
			}
			each(3, func(rank int) error { return w[rank].Close() })
		})
	}
}

// Both ends may send more than all buffers hold before they receive, on several
// edges, whatever the credits.
func TestSendFirst(t *testing.T) {
	const n, edges, tensors = 1 << 20, 3, 8
	worlds(t, 2, func(t *testing.T, w []Transport) {
		onAll(t, 2, func(rank int) error {
			ctx := testContext(t)
			for i := range tensors * edges {
				tag := Tag{Edge: uint32(i % edges), Step: uint64(i)}
				if err := w[rank].Send(ctx, 1-rank, tag, ramp(n, float32(i+rank))); err != nil {
					return err
				}
			}
			x := make([]float32, n)
			for e := range edges {
				for i := e; i < tensors*edges; i += edges {
					if err := w[rank].Recv(ctx, 1-rank, Tag{Edge: uint32(e), Step: uint64(i)}, x); err != nil {
						return err
					}
					if err := sameFloats(x, ramp(n, float32(i+1-rank))); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

// Memory that ranks share has no name once they have met.
func TestSharedMemoryHasNoName(t *testing.T) {
	before, _ := os.ReadDir(shmDir)
	w, _ := planeWorld(t, dialAll(t, startServer(t).Endpoint(), 2), SHM, nil, TransportOptions{})
	defer closeAll(t, w)
	after, _ := os.ReadDir(shmDir)
	for _, e := range after {
		if strings.HasPrefix(e.Name(), "galvani-") && len(after) > len(before) {
			t.Error(e.Name())
		}
	}
}

// tcpPair are the ends of a connection.
func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dialed.Close()
		accepted.Close()
	})
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn)
}

// handshake has two identities meet, each expecting a certificate.
func handshake(t *testing.T, caller, callee *identity, expected, admitted []byte) (out, in *sealing, errs []error) {
	a, b := tcpPair(t)
	errs = each(2, func(i int) (err error) {
		if i == 0 {
			out, err = caller.call(a, expected)
			if err != nil {
				a.Close()
			}
			return err
		}
		in, _, err = callee.accept(b, func(p []byte) bool { return bytes.Equal(p, admitted) })
		if err != nil {
			b.Close()
		}
		return err
	})
	return out, in, errs
}

// A stranger gets nothing, on either end of a connection.
func TestStranger(t *testing.T) {
	var ids [3]*identity
	for i := range ids {
		var err error
		if ids[i], err = newIdentity(); err != nil {
			t.Fatal(err)
		}
	}
	one, two, stranger := ids[0], ids[1], ids[2]
	if _, _, errs := handshake(t, one, two, two.print, one.print); errors.Join(errs...) != nil {
		t.Fatal(errs)
	}
	if _, _, errs := handshake(t, stranger, two, two.print, one.print); errs[0] == nil || errs[1] == nil {
		t.Errorf("a stranger calls: %v", errs)
	}
	if _, _, errs := handshake(t, one, stranger, two.print, one.print); errs[0] == nil || errs[1] == nil {
		t.Errorf("a stranger answers: %v", errs)
	}
}

// What is sealed opens once, in order, unchanged, with its header.
func TestSealing(t *testing.T) {
	one, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	two, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	meet := func() (*sealing, *sealing) {
		out, in, errs := handshake(t, one, two, two.print, one.print)
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		return out, in
	}
	payload, head := bytes.Repeat([]byte("gradient"), 1000), []byte("header")
	out, in := meet()
	for range 3 {
		sealed := out.seal(nil, payload, head)
		got, err := in.open(nil, sealed, head)
		if err != nil || !bytes.Equal(got, payload) || bytes.Contains(sealed, []byte("gradient")) {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(first, second []byte) ([]byte, []byte){
		"a bit":    func(a, _ []byte) ([]byte, []byte) { a[7] ^= 1; return a, head },
		"a header": func(a, _ []byte) ([]byte, []byte) { return a, []byte("heaper") },
		"order":    func(_, b []byte) ([]byte, []byte) { return b, head },
		"length":   func(a, _ []byte) ([]byte, []byte) { return a[:len(a)-1], head },
	} {
		out, in := meet()
		sealed, head := change(out.seal(nil, payload, head), out.seal(nil, payload, head))
		if _, err := in.open(nil, sealed, head); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	// Each way has its own key.
	if _, err := out.open(nil, out.seal(nil, payload, head), head); err == nil {
		t.Error("opened what was sent the other way")
	}
}
