package comm

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// A ring against a queue of frames.
func TestShmRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := ringOver(make([]byte, shmControl+1<<12))
		var model [][]byte
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "put") {
				payload := bytes.Repeat([]byte{byte(len(model))}, rapid.IntRange(0, 900).Draw(t, "bytes"))
				h := header{kind: kindData, chunks: 1, total: uint64(len(payload))}
				if r.put(&h, payload) {
					model = append(model, payload)
				} else if len(model) == 0 {
					t.Fatalf("no room for %d bytes in an empty ring", len(payload))
				}
				continue
			}
			h, payload, size, ok, err := r.peek()
			if err != nil || ok != (len(model) > 0) {
				t.Fatalf("%v %v with %d frames", ok, err, len(model))
			}
			if ok {
				if !bytes.Equal(payload, model[0]) || h.total != uint64(len(payload)) {
					t.Fatalf("%d bytes, want %d", len(payload), len(model[0]))
				}
				model = model[1:]
				r.take(size)
			}
		}
	})
}

// What a peer has written wrong is an error.
func TestShmRingCorrupt(t *testing.T) {
	for _, at := range []int{0, 1, 3, shmLine, shmLine + 5, shmLine + 60} {
		r := ringOver(make([]byte, shmControl+1<<12))
		h := header{kind: kindData, chunks: 1, total: 100}
		r.put(&h, make([]byte, 100))
		r.data[at] ^= 0x80
		if _, _, _, ok, err := r.peek(); ok || err == nil {
			t.Errorf("byte %d changed: no error", at)
		}
	}
}
