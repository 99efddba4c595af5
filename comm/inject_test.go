package comm

import (
	"bytes"
	"encoding/binary"
	"errors"
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
