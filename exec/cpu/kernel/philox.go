package kernel

import "math/bits"

const (
	philoxRounds = 10
	philoxKey0   = 0x9E3779B9 // what a round adds to the key
	philoxKey1   = 0xBB67AE85
)

// Philox4x32 is the counter-based generator Philox4x32-10 of Salmon et al.,
// Parallel Random Numbers: As Easy as 1, 2, 3 (2011): ten rounds that map a
// counter and a key to four independent random words.
func Philox4x32(counter [4]uint32, key [2]uint32) [4]uint32 {
	c0, c1, c2, c3 := counter[0], counter[1], counter[2], counter[3]
	k0, k1 := key[0], key[1]
	for range philoxRounds {
		hi0, lo0 := bits.Mul32(0xD2511F53, c0)
		hi1, lo1 := bits.Mul32(0xCD9E8D57, c2)
		c0, c1, c2, c3 = hi1^c1^k0, lo1, hi0^c3^k1, lo0
		k0 += philoxKey0
		k1 += philoxKey1
	}
	return [4]uint32{c0, c1, c2, c3}
}
