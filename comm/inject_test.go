package comm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
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

// The last frame of all may get lost without a gap; the deadline catches it.
func TestLostLastFrame(t *testing.T) {
	drop := nth(0, func([]byte) [][]byte { return nil })
	w := natsWorld(t, dialAll(t, startServer(t).Endpoint(), 2), TransportOptions{Timeout: 50e6}, drop)
	if err := w[0].Send(t.Context(), 1, Tag{}, ramp(10, 1)); err != nil {
		t.Fatal(err)
	}
	wantAs[*TimeoutError](t, w[1].Recv(t.Context(), 0, Tag{}, make([]float32, 10)))
	each(2, func(rank int) error { return w[rank].Close() })
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
