package graph

import "math/bits"

// Philox is the counter-based generator Philox4x32-10 of Salmon et al.,
// Parallel Random Numbers: As Easy as 1, 2, 3 (2011). It maps a 64-bit key and
// a 128-bit counter to four independent 32-bit words, so any rank can draw any
// number of a sequence without the ones before it.
func Philox(key [2]uint32, counter [4]uint32) [4]uint32 {
	c, k := counter, key
	for range 10 {
		hi0, lo0 := bits.Mul32(0xD2511F53, c[0])
		hi1, lo1 := bits.Mul32(0xCD9E8D57, c[2])
		c = [4]uint32{hi1 ^ c[1] ^ k[0], lo1, hi0 ^ c[3] ^ k[1], lo0}
		k[0] += 0x9E3779B9
		k[1] += 0xBB67AE85
	}
	return c
}
