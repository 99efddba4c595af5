package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// blockTable says which block of four random words each quadword computes.
const blockTable = "blocks"

// dropout writes Philox4x32-10 for as many blocks as a vector has quadwords,
// and what it decides: VPMULUDQ multiplies the low halves of quadwords, so each
// 32-bit word of the state lives in one, whatever is in its high half.
func (s *set) dropout() {
	s.function("dropout", "func(y, x []float32, block uint64, k *[24]uint32)",
		"sets y to scale x or 0 from random block on; len(y) is a multiple of four words a quadword. k: site, step, threshold, scale, and the keys of each round.")
	l := s.over("y", "x")
	k := Load(Param("k"), GP64())
	counter := s.vec()
	VPBROADCASTQ(stackParam("block"), counter)
	VPADDQ(s.table(blockTable), counter, counter)
	factor := func(i int) reg.VecVirtual { // AVX2 has no registers to keep them in
		x := s.vec()
		VPBROADCASTD(Mem{Base: k, Disp: 4 * i}, x)
		return x
	}
	xorKey := func(a, b reg.VecVirtual, i int) reg.VecVirtual {
		if !s.wide {
			return s.xor3(a, b, factor(i))
		}
		VPTERNLOGD_BCST(U8(0x96), Mem{Base: k, Disp: 4 * i}, b, a)
		return a
	}
	blocks := s.lanes / 2
	s.holdBits(0xD2511F53, 0xCD9E8D57)
	l.whole("group", 2, func(u int, masked bool) {
		if u > 0 {
			return
		}
		words := s.philox(counter, factor(0), factor(1), xorKey)
		VPADDQ(s.quads(uint32(blocks)), counter, counter)
		for i, w := range s.interleave(words) {
			l.store(s.keep(l.load("x", i, false), w, factor(2), factor(3)), "y", i, false)
		}
	})
	end()
}

// quads is a vector with v in every quadword.
func (s *set) quads(v uint32) reg.VecVirtual {
	x := s.vec()
	VPMOVZXDQ(s.bits(v), x)
	return x
}

// philox runs the ten rounds on counters (counter, site, step); it overwrites
// all but the first. xorKey is a ^ b ^ a factor, in place of a.
func (s *set) philox(counter, site, step reg.VecVirtual, xorKey func(a, b reg.VecVirtual, factor int) reg.VecVirtual) [4]reg.VecVirtual {
	high := s.vec()
	VPSRLQ(U8(32), counter, high)
	c := [4]reg.VecVirtual{counter, high, site, step}
	for round := range 10 {
		p0, p1 := s.vec(), s.vec()
		VPMULUDQ(s.bits(0xD2511F53), c[0], p0)
		VPMULUDQ(s.bits(0xCD9E8D57), c[2], p1)
		hi0, hi1 := s.vec(), s.vec()
		VPSRLQ(U8(32), p0, hi0)
		VPSRLQ(U8(32), p1, hi1)
		c = [4]reg.VecVirtual{xorKey(hi1, c[1], 4+2*round), p1, xorKey(hi0, c[3], 5+2*round), p0}
	}
	return c
}

// xor3 is a ^ b ^ c; it overwrites a.
func (s *set) xor3(a, b, c reg.VecVirtual) reg.VecVirtual {
	if s.wide {
		VPTERNLOGD(U8(0x96), b, c, a)
	} else {
		VPXOR(b, a, a)
		VPXOR(c, a, a)
	}
	return a
}

// interleave puts the four words of each block side by side: two vectors.
func (s *set) interleave(c [4]reg.VecVirtual) [2]reg.VecVirtual {
	var pairs [2]reg.VecVirtual
	for i := range pairs {
		lo, hi := s.vec(), s.vec()
		VPSLLQ(U8(32), c[2*i], lo)
		VPSRLQ(U8(32), lo, lo)
		VPSLLQ(U8(32), c[2*i+1], hi)
		pairs[i] = s.vec()
		if s.wide {
			VPORD(hi, lo, pairs[i])
		} else {
			VPOR(hi, lo, pairs[i])
		}
	}
	even, odd := s.vec(), s.vec()
	VPUNPCKLQDQ(pairs[1], pairs[0], even)
	VPUNPCKHQDQ(pairs[1], pairs[0], odd)
	return [2]reg.VecVirtual{even, odd}
}

// keep is x scale where the word is at least the threshold, 0 elsewhere.
func (s *set) keep(x, word, threshold, scale reg.VecVirtual) reg.VecVirtual {
	y := s.vec()
	if s.wide {
		const notLess = U8(5)
		k := K()
		VPCMPUD(notLess, threshold, word, k)
		VMULPS_Z(scale, x, k, y)
		return y
	}
	most, kept := s.vec(), s.vec()
	VPMAXUD(threshold, word, most)
	VPCMPEQD(word, most, kept)
	VMULPS(scale, x, y)
	VANDPS(kept, y, y)
	return y
}

// writeBlocks orders the blocks so that interleave's vectors are in order:
// its first takes the even quadwords.
func (s *set) writeBlocks() {
	GLOBL(blockTable+s.suffix, RODATA|NOPTR)
	n := s.lanes / 2
	for q := range n {
		DATA(8*q, U64(uint64(q%2*n/2+q/2)))
	}
}
