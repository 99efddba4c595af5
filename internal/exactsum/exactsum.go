// Package exactsum adds up numbers without rounding, so that neither their
// order nor how they are grouped changes a bit of the sum.
package exactsum

import "math"

// A Sum is a fixed-point number: limb i counts units of 2^(lowest+16i). A limb
// is a whole number below 2^16 when it is put into a float32, so up to 256 of
// them add up exactly there.
const (
	limbBits = 16
	lowest   = -128
	// Size is how many float32 a Sum is put into.
	Size = 16
)

// Sum is the exact sum of numbers of less than 2^127. Of each what is finer than
// 2^-128 is cut off. The zero value is 0.
type Sum struct {
	limbs  [Size]int64
	beyond float64 // sum of what is too large, infinite or not a number
}

// Add adds x.
func (s *Sum) Add(x float64) {
	fraction, exponent := math.Frexp(x)
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		s.beyond += x
		return
	case exponent >= -lowest:
		s.beyond += math.Inf(int(math.Copysign(1, x)))
		return
	}
	sign := int64(1)
	if fraction < 0 {
		sign = -1
	}
	const digits = 53
	bits := uint64(math.Abs(fraction) * (1 << digits))
	at := exponent - digits - lowest // the bit that the last digit counts
	if at < 0 {
		bits >>= -at
		at = 0
	}
	for i, shift := at/limbBits, at%limbBits; bits > 0; i, shift = i+1, 0 {
		s.limbs[i] += sign * int64(bits<<shift&(1<<limbBits-1))
		bits >>= limbBits - shift
	}
}

// carry leaves in all limbs but the last what is below 2^16 and not negative.
func (s *Sum) carry() {
	for i := range Size - 1 {
		over := s.limbs[i] >> limbBits
		s.limbs[i] -= over << limbBits
		s.limbs[i+1] += over
	}
}

// Put writes the sum to dst, of Size elements, which may be added up with those
// of other Sums.
func (s *Sum) Put(dst []float32) {
	s.carry()
	for i, limb := range s.limbs {
		dst[i] = float32(limb)
	}
	dst[Size-1] += float32(s.beyond)
}

// Take makes the sum that of the Sums whose elements were added up in src.
func (s *Sum) Take(src []float32) {
	*s = Sum{}
	for i, x := range src[:Size] {
		if v := float64(x); math.IsNaN(v) || math.IsInf(v, 0) {
			s.beyond += v
		} else {
			s.limbs[i] = int64(x)
		}
	}
}

// Value returns the sum, correct to the last bit or two and the same however it
// came about.
func (s *Sum) Value() float64 {
	if s.beyond != 0 {
		return s.beyond
	}
	s.carry()
	n, sign := *s, 1.0
	if n.limbs[Size-1] < 0 {
		sign = -1
		for i := range n.limbs {
			n.limbs[i] = -n.limbs[i]
		}
		n.carry()
	}
	var sum float64
	for i := Size - 1; i >= 0; i-- {
		sum += math.Ldexp(float64(n.limbs[i]), lowest+limbBits*i)
	}
	return sign * sum
}
