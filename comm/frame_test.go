package comm

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawHeader(t *rapid.T) (header, []byte) {
	h := header{
		kind: kindData, dtype: DType(rapid.Byte().Draw(t, "dtype")), op: Op(rapid.Byte().Draw(t, "op")),
		src: rapid.Uint16().Draw(t, "src"), dst: rapid.Uint16().Draw(t, "dst"),
		edge: rapid.Uint32().Draw(t, "edge"), epoch: rapid.Uint32().Draw(t, "epoch"),
		micro: rapid.Uint32().Draw(t, "micro"), step: rapid.Uint64().Draw(t, "step"), seq: rapid.Uint32().Draw(t, "seq"),
		chunks: rapid.Uint16Range(1, maxChunks).Draw(t, "chunks"), offset: rapid.Uint64Range(0, 1<<20).Draw(t, "offset"),
	}
	payload := rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "payload")
	if h.dtype == Float32 {
		payload, h.offset = payload[:len(payload)&^3], h.offset&^3
	}
	h.chunk = rapid.Uint16Range(0, h.chunks-1).Draw(t, "chunk")
	h.total = h.offset + uint64(len(payload))
	if !h.last() {
		h.total += rapid.Uint64Range(1, 1<<20).Draw(t, "rest")
	}
	h.sum = checksum(payload)
	return h, payload
}

func encode(h header, payload []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(payload))
	h.put(b)
	return append(b, payload...)
}

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, payload := drawHeader(t)
		got, p, err := parseFrame(encode(want, payload))
		if err != nil || got != want || !bytes.Equal(p, payload) {
			t.Fatalf("got %+v %v %v, want %+v %v", got, p, err, want, payload)
		}
	})
}

func TestFrameBitFlip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, payload := drawHeader(t)
		b := encode(h, payload)
		bit := rapid.IntRange(0, 8*headerSize-1).Draw(t, "bit")
		b[bit/8] ^= 1 << (bit % 8)
		if _, _, err := parseFrame(b); err == nil {
			t.Fatalf("bit %d of the header flipped unnoticed", bit)
		}
	})
}

func FuzzParseFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add(encode(header{kind: kindData, chunks: 1, total: 3}, []byte("abc")))
	f.Add(encode(header{kind: kindData, chunks: 2, total: 3}, []byte("abc")))
	f.Add(encode(header{kind: kindCredit, seq: 4}, nil))
	f.Add(encode(header{kind: 99}, nil))
	f.Add(encode(header{kind: kindData, dtype: Float32, chunks: 1, total: 3}, []byte("abc")))
	f.Add(encode(header{kind: kindData, dtype: Bytes, chunks: maxChunks, total: maxChunks * maxFrame}, []byte("abc")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, err := parseFrame(b)
		if err != nil {
			return
		}
		if h.kind == kindData && (h.chunk >= h.chunks || h.offset+uint64(len(payload)) > h.total) {
			t.Fatalf("accepted %+v with %d bytes", h, len(payload))
		}
		if got := encode(h, payload); !bytes.Equal(got, b) {
			t.Fatalf("decodes to another frame:\n%x\n%x", b, got)
		}
	})
}

func TestFifo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q fifo[int]
		var model []int
		for i := range rapid.IntRange(0, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "push") {
				q.push(i)
				model = append(model, i)
			} else if v, ok := q.pop(); ok != (len(model) > 0) || ok && v != model[0] {
				t.Fatalf("pop gives %d %v, model is %v", v, ok, model)
			} else if ok {
				model = model[1:]
			}
			if q.len() != len(model) {
				t.Fatalf("len %d, want %d", q.len(), len(model))
			}
		}
	})
}

func TestAddFloats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 150).Draw(t, "n")
		shift := rapid.IntRange(0, 3).Draw(t, "shift") // payloads may be unaligned
		x, y := ramp(n, 0.5), ramp(n, 3)
		src := append(make([]byte, shift), rawBytes(y)...)[shift:]
		z := slices.Clone(x)
		addFloats(x, rawFloats(src))
		addScalars(z, rawFloats(src))
		if err := sameFloats(x, z); err != nil {
			t.Fatal(err)
		}
		for i := range x {
			if x[i] != 3.5*float32(i) {
				t.Fatalf("element %d is %v", i, x[i])
			}
		}
	})
}
