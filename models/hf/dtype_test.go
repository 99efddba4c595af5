package hf

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/nlpodyssey/safetensors"
)

// TestHalf compares every half-precision number with its definition.
func TestHalf(t *testing.T) {
	for h := range 1 << 16 {
		got := float64(fromHalf(uint16(h)))
		exponent, fraction := h>>10&31, float64(h&1023)/1024
		var want float64
		switch exponent {
		case 0:
			want = math.Ldexp(fraction, -14)
		case 31:
			want = math.Inf(1)
			if fraction > 0 {
				want = math.NaN()
			}
		default:
			want = math.Ldexp(1+fraction, exponent-15)
		}
		if h>>15 == 1 {
			want = -want
		}
		same := got == want && math.Signbit(got) == math.Signbit(want)
		if !same && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Fatalf("%#04x is %g, want %g", h, got, want)
		}
	}
}

// TestBFloat shows that each bfloat16 is the upper half of its float32.
func TestBFloat(t *testing.T) {
	var dst [1]float32
	for h := range 1 << 16 {
		decode(dst[:], safetensors.BF16, binary.LittleEndian.AppendUint16(nil, uint16(h)))
		if bits := math.Float32bits(dst[0]); bits != uint32(h)<<16 {
			t.Fatalf("%#04x is read as %#08x", h, bits)
		}
	}
}
