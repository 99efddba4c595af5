package data

import "math/bits"

// Everything random in this package is a hash of (seed, purpose, counters), so that any step can be had
// without those before it.
const (
	forOrder uint64 = iota + 1
	forPhase
	forMask
	forValidationMask
)

// draw mixes words into 64 random bits.
func draw(words ...uint64) uint64 {
	h := uint64(0)
	for _, w := range words {
		h = mix(h + 0x9e3779b97f4a7c15 ^ mix(w+0x9e3779b97f4a7c15))
	}
	return h
}

// mix is the finalizer of SplitMix64 (Steele et al. 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// below maps 64 random bits to [0, n), with a bias under n/2^64.
func below(random, n uint64) uint64 {
	hi, _ := bits.Mul64(random, n)
	return hi
}

// permutation is a pseudo-random bijection of [0, n): a Feistel network over the next power of four, whose
// values outside are sent round again (cycle walking; Black and Rogaway 2002). It takes O(1) memory and,
// on average, fewer than four rounds of the walk.
type permutation struct {
	n, key uint64
	half   int // bits in each half
}

func newPermutation(n, key uint64) permutation {
	return permutation{n: n, key: key, half: (bits.Len64(n-1) + 1) / 2}
}

func (p permutation) at(i uint64) uint64 {
	for {
		if i = p.feistel(i); i < p.n {
			return i
		}
	}
}

func (p permutation) feistel(i uint64) uint64 {
	mask := uint64(1)<<p.half - 1
	left, right := i>>p.half, i&mask
	for round := range uint64(6) {
		left, right = right, left^mix(p.key+round*0x9e3779b97f4a7c15+mix(right))&mask
	}
	return left<<p.half | right
}
