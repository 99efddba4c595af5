package comm

import (
	"encoding/binary"
	"hash/crc32"
	"unsafe"
)

// sumStep is the number of bytes that sumVectors takes at a time: sumLanes words.
const (
	sumLanes = 16
	sumStep  = 8 * sumLanes
)

// fastsum is a checksum of what goes between ranks of one host, at the speed of its
// cache, where a CRC would take as long as the way itself. For each of 16 lanes of
// 64-bit words it adds up the words, and those sums (Fletcher 1982): a change within
// one word always shows, and so does one of two words unless their distance and
// difference multiply to 2^64. The sums and what is left over go through CRC-32C.
func fastsum(b []byte) uint32 {
	var sums [2 * sumLanes]uint64
	n := len(b) / sumStep * sumStep
	switch {
	case n == 0:
		return checksum(b)
	case vectors:
		sumVectors(&b[0], n, &sums)
	default:
		sumScalars(b[:n], &sums)
	}
	folded := unsafe.Slice((*byte)(unsafe.Pointer(&sums)), unsafe.Sizeof(sums))
	return crc32.Update(checksum(folded), castagnoli, b[n:])
}

// sumScalars is sumVectors without vector instructions.
func sumScalars(b []byte, sums *[2 * sumLanes]uint64) {
	for ; len(b) >= sumStep; b = b[sumStep:] {
		for i := range sumLanes {
			sums[i] += binary.NativeEndian.Uint64(b[8*i:])
			sums[sumLanes+i] += sums[i]
		}
	}
}
