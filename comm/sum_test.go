package comm

import (
	"testing"

	"pgregory.net/rapid"
)

// TestFastsum has both implementations agree, and notice what changes.
func TestFastsum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 1, 2000).Draw(t, "bytes")
		if n := len(b) / sumStep * sumStep; n > 0 && vectors {
			var fast, slow [2 * sumLanes]uint64
			sumVectors(&b[0], n, &fast)
			if sumScalars(b[:n], &slow); fast != slow {
				t.Fatalf("%v, want %v", fast, slow)
			}
		}
		was := fastsum(b)
		at, bit := rapid.IntRange(0, len(b)-1).Draw(t, "at"), rapid.IntRange(0, 7).Draw(t, "bit")
		if b[at] ^= 1 << bit; fastsum(b) == was {
			t.Fatal("a bit that changed goes unnoticed")
		}
		b[at] ^= 1 << bit
		to := rapid.IntRange(0, len(b)-1).Draw(t, "to")
		if b[at] == b[to] {
			return
		}
		if b[at], b[to] = b[to], b[at]; fastsum(b) == was {
			t.Fatal("bytes that changed places go unnoticed")
		}
	})
}

func BenchmarkFastsum(b *testing.B) {
	x := make([]byte, 256<<10)
	for name, sum := range map[string]func([]byte) uint32{"fastsum": fastsum, "CRC-32C": checksum} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(x)))
			for b.Loop() {
				sum(x)
			}
		})
	}
}
