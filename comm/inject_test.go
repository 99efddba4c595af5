package comm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
)

// nth changes the nth data frame (from 0) of a rank.
func nth(n int, change tampering) tampering {
	count := 0
	return func(f []byte) [][]byte {
		if kind(f[5]) == kindData {
			if count++; count == n+1 {
				return change(bytes.Clone(f))
			}
		}
		return [][]byte{f}
	}
}

// resign makes a changed header valid again.
func resign(f []byte) []byte {
	binary.LittleEndian.PutUint32(f[60:], checksum(f[:60]))
	return f
}

func TestInjectedFaults(t *testing.T) {
	cases := map[string]struct {
		change tampering
		want   Corruption
	}{
		"drop":         {func([]byte) [][]byte { return nil }, Gap},
		"duplicate":    {func(f []byte) [][]byte { return [][]byte{f, f} }, Duplicate},
		"payload bit":  {func(f []byte) [][]byte { f[headerSize+5] ^= 8; return [][]byte{f} }, BadChecksum},
		"header bit":   {func(f []byte) [][]byte { f[25] ^= 1; return [][]byte{f} }, BadHeader},
		"cut short":    {func(f []byte) [][]byte { return [][]byte{f[:30]} }, BadHeader},
		"cut payload":  {func(f []byte) [][]byte { return [][]byte{f[:headerSize+8]} }, BadChecksum},
		"old epoch":    {func(f []byte) [][]byte { f[16]--; return [][]byte{resign(f)} }, StaleEpoch},
		"wrong rank":   {func(f []byte) [][]byte { f[10] = 9; return [][]byte{resign(f)} }, BadHeader},
		"other total":  {func(f []byte) [][]byte { f[42]++; return [][]byte{resign(f)} }, BadHeader},
		"huge total":   {func(f []byte) [][]byte { f[46]++; return [][]byte{resign(f)} }, BadHeader},
		"no such kind": {func(f []byte) [][]byte { f[5] = 9; return [][]byte{resign(f)} }, BadHeader},
	}
	sessions := dialAll(t, startServer(t).Endpoint(), 3)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := natsWorld(t, sessions, TransportOptions{Chunk: 4096}, nth(5, c.change))
			errs := each(3, func(rank int) error {
				g, err := NewGroup(w[rank], 0, every(3))
				if err != nil {
					return err
				}
				return g.AllReduce(testContext(t), "grads", ramp(100_000, 1))
			})
			var seen *CorruptError
			for rank, err := range errs {
				if err == nil {
					t.Fatalf("rank %d: no error", rank)
				}
				if ce, ok := errors.AsType[*CorruptError](err); ok {
					seen = ce
				}
			}
			if seen == nil || seen.Kind != c.want {
				t.Fatalf("got %v, want a %s; all: %v", seen, c.want, errs)
			}
			each(3, func(rank int) error { return w[rank].Close() })
		})
	}
}

// The last frame of all may get lost without a gap; the next mark shows it.
func TestLostLastFrame(t *testing.T) {
	drop := nth(0, func([]byte) [][]byte { return nil })
	w := natsWorld(t, dialAll(t, startServer(t).Endpoint(), 2), TransportOptions{}, drop)
	if err := w[0].Send(t.Context(), 1, Tag{}, ramp(10, 1)); err != nil {
		t.Fatal(err)
	}
	if e := wantAs[*CorruptError](t, w[1].Recv(t.Context(), 0, Tag{}, make([]float32, 10))); e.Kind != Gap {
		t.Error(e)
	}
	each(2, func(rank int) error { return w[rank].Close() })
}

// Marks do no harm to edges at rest, nor to those in use, on any plane.
func TestMarks(t *testing.T) {
	worlds(t, 2, func(t *testing.T, world []Transport) {
		onAll(t, 2, func(rank int) error {
			peer := 1 - rank
			for i := range 4 {
				for edge := range uint32(3) {
					tag := Tag{Edge: edge, Step: uint64(i)}
					if err := world[rank].Send(testContext(t), peer, tag, ramp(100_000, 1)); err != nil {
						return err
					}
					if n, ok := world[rank].(*natsTransport); ok {
						if err := n.out.mark(); err != nil {
							return err
						}
						for _, l := range n.linked.links {
							if tcp, ok := l.(*tcpLink); ok {
								if err := tcp.beat(); err != nil {
									return err
								}
							}
						}
					}
				}
				for edge := range uint32(3) {
					if err := world[rank].Recv(testContext(t), peer, Tag{Edge: edge, Step: uint64(i)}, make([]float32, 100_000)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

// A hello that is lost is said again.
func TestLostHello(t *testing.T) {
	sessions := dialAll(t, startServer(t).Endpoint(), 2)
	lost := map[int]int{}
	var mu sync.Mutex
	first := func(rank int) tampering {
		return func(f []byte) [][]byte {
			mu.Lock()
			defer mu.Unlock()
			if lost[rank]++; kind(f[5]) == kindHello && lost[rank] == 1 {
				return nil
			}
			return [][]byte{f}
		}
	}
	closeAll(t, natsWorld(t, sessions, TransportOptions{}, first(0), first(1)))
}

// A connection that is cut without a word is noticed.
func TestSilentConnection(t *testing.T) {
	var p pulse
	for range silentMarks - 1 {
		if p.silent() {
			t.Fatal("too soon")
		}
	}
	p.heard.Add(1)
	for range silentMarks {
		if p.silent() {
			t.Fatal("too soon after a frame")
		}
	}
	if !p.silent() {
		t.Error("not noticed")
	}
	if p.over.Store(true); p.silent() {
		t.Error("the peer has said that no more comes")
	}
}

// What changes in a ring of shared memory or on a connection in the clear is noticed
// as on NATS.
func TestCorruptedPlanes(t *testing.T) {
	sessions := dialAll(t, startServer(t).Endpoint(), 2)
	t.Run("shm", func(t *testing.T) {
		w, _ := planeWorld(t, sessions, SHM, nil, TransportOptions{})
		if err := w[0].Send(t.Context(), 1, Tag{}, ramp(1000, 1)); err != nil {
			t.Fatal(err)
		}
		in := w[1].(*natsTransport).hub.byPeer[0].in
		in.data[int(in.head.Load())&(len(in.data)-1)-shmLine] ^= 1 // of the last frame's payload
		if e := wantAs[*CorruptError](t, w[1].Recv(t.Context(), 0, Tag{}, make([]float32, 1000))); e.Kind != BadChecksum {
			t.Error(e)
		}
		each(2, func(rank int) error { return w[rank].Close() })
	})
	t.Run("tcp", func(t *testing.T) {
		w, _ := planeWorld(t, sessions, TCP, nil, TransportOptions{})
		l := w[0].(*natsTransport).wires[1].(*tcpLink)
		h := header{kind: kindData, dtype: Float32, src: 0, dst: 1, epoch: w[0].(*natsTransport).job.Epoch, chunks: 1, total: 4000}
		b := binary.LittleEndian.AppendUint32(nil, 4000)
		b = append(b, make([]byte, headerSize+4000)...)
		h.put(b[4:])
		b[100] ^= 1
		if _, err := l.conn.Write(b); err != nil {
			t.Fatal(err)
		}
		if e := wantAs[*CorruptError](t, w[1].Recv(t.Context(), 0, Tag{}, make([]float32, 1000))); e.Kind != BadChecksum {
			t.Error(e)
		}
		each(2, func(rank int) error { return w[rank].Close() })
	})
}

// What a peer sends without credits, on edges without end, or as credits for
// nothing ends the transport before it takes memory without end.
func TestOverruns(t *testing.T) {
	open := func() *inbox {
		b := newInbox(t.Context(), func(error) {}, 0, 2, TransportOptions{Window: 4, Backlog: 1})
		b.credit = func(int, uint32, int) {}
		return b
	}
	data := func(edge, seq uint32) chunk {
		return chunk{header: header{kind: kindData, src: 1, edge: edge, seq: seq, chunks: 1, total: 4}, data: []byte("abcd")}
	}
	until := func(most int, deliver func(i int) error) error {
		for i := range most + 1 {
			if err := deliver(i); err != nil {
				return err
			}
		}
		return nil
	}
	b := open()
	frames := until(overrun*4, func(i int) error { return b.deliver(data(0, uint32(i))) })
	b = open()
	edges := until(maxEdges+2, func(i int) error { return b.deliver(data(uint32(i), 0)) })
	out := newOutbox(t.Context(), 0, 0, TransportOptions{Window: 4, Chunk: 64, Queue: 1}, []wire{mute{}, mute{}})
	unsent := out.grant(1, 0, 1)
	if err := out.send(t.Context(), 1, Tag{}, Bytes, []byte("x")); err != nil {
		t.Fatal(err)
	}
	many := out.grant(1, 0, 2)
	for what, err := range map[string]error{"frames": frames, "edges": edges, "credits on no edge": unsent, "credits": many} {
		if c := wantAs[*CorruptError](t, err); c.Kind != Overrun {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := out.grant(1, 0, 1); err != nil {
		t.Error(err)
	}
}

// A worker's ID cannot say more than one token of a subject.
func TestJoinWithForeignID(t *testing.T) {
	s := dial(t, startServer(t).Endpoint())
	job := Job{ID: "test", Epoch: epochs.Add(1)}
	c, err := NewCoordinator(t.Context(), s, CoordinatorOptions{Job: job, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, id := range []string{"", "*", ">", "a.b", "x y", "x\r\nPUB y 0\r\n"} {
		req, err := json.Marshal(joinRequest{id, Worker{Rank: AnyRank}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.control.RequestWithContext(testContext(t), job.subject("join"), req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeReply(m.Data); err == nil || !strings.Contains(err.Error(), "worker ID") {
			t.Errorf("%q: %v", id, err)
		}
	}
}
