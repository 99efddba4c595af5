package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// reductions writes the sums over one slice or two.
func (s *set) reductions() {
	s.reduce("sum", "func(x []float32) float32", "is the sum of x.", func(l *loop) step {
		return func(acc reg.VecVirtual, u int, masked bool) {
			VADDPS(l.load("x", u, masked), acc, acc)
		}
	}, "x")
	s.reduce("dot", "func(x, y []float32) float32", "is the sum of x y.", func(l *loop) step {
		return func(acc reg.VecVirtual, u int, masked bool) {
			s.fmaTo(acc, l.load("x", u, masked), l.load("y", u, masked))
		}
	}, "x", "y")
	s.reduce("squaredDeviation", "func(x []float32, mean float32) float32", "is the sum of (x-mean)^2.", func(l *loop) step {
		mean := s.param("mean")
		return func(acc reg.VecVirtual, u int, masked bool) {
			d := s.only(s.sub(mean, l.load("x", u, masked)), masked)
			s.fmaTo(acc, d, d)
		}
	}, "x")
	s.powerSum()
	s.maximum()
	s.sumSquares()
}

// step adds one vector to an accumulator.
type step func(acc reg.VecVirtual, u int, masked bool)

func (s *set) reduce(name, signature, doc string, body func(l *loop) step, slices ...string) {
	s.function(name, signature, doc)
	l := s.over(slices...)
	acc, f := s.accumulators(4), body(l)
	l.each(4, func(u int, masked bool) { f(acc[u], u, masked) })
	Store(s.fold(s.gather(acc, VADDPS), VADDPS), ReturnIndex(0))
	end()
}

// maximum leaves NaN out, except in the last lanes it meets: whoever takes a
// maximum to shift an exponential finds NaN in the sum.
func (s *set) maximum() {
	s.function("max", "func(x []float32) float32", "is the largest element of x, minus infinity without one.")
	l := s.over("x")
	acc := s.accumulators(4)
	least := s.constant(math.Inf(-1))
	for _, a := range acc {
		VMOVAPS(least, a)
	}
	l.each(4, func(u int, masked bool) {
		x := l.load("x", u, masked)
		if masked {
			x = s.onlyOr(x, least)
		}
		VMAXPS(x, acc[u], acc[u])
	})
	Store(s.fold(s.gather(acc, VMAXPS), VMAXPS), ReturnIndex(0))
	end()
}

// onlyOr takes y in the lanes past the mask.
func (s *set) onlyOr(x, y reg.VecVirtual) reg.VecVirtual {
	z := s.vec()
	if s.wide {
		VBLENDMPS(x, y, s.mask, z)
	} else {
		VBLENDVPS(s.mask, x, y, z)
	}
	return z
}

func (s *set) powerSum() {
	s.function("powerSum", "func(x []float32, shift float32) (sum, most float32)", "gives the sum of 2^(log2e x - shift) and the largest x.")
	l, shift := s.over("x"), s.param("shift")
	s.hold(append(powerTerms, log2e)...)
	sums, most := s.accumulators(4), s.accumulators(4)
	least := s.constant(math.Inf(-1))
	for _, m := range most {
		VMOVAPS(least, m)
	}
	l.each(4, func(u int, masked bool) {
		x := l.load("x", u, masked)
		if masked {
			x = s.onlyOr(x, least) // whose power is zero
		}
		VMAXPS(x, most[u], most[u])
		VFMSUB132PS(s.k(log2e), shift, x)
		VADDPS(s.power(x), sums[u], sums[u])
	})
	Store(s.fold(s.gather(sums, VADDPS), VADDPS), ReturnIndex(0))
	Store(s.fold(s.gather(most, VMAXPS), VMAXPS), ReturnIndex(1))
	end()
}

func (s *set) sumSquares() {
	s.function("sumSquares", "func(x []float32) float64", "is the sum of x^2 in float64.")
	l := s.over("x")
	acc := s.accumulators(4)
	l.each(2, func(u int, masked bool) {
		x := l.load("x", u, masked)
		for i, half := range s.doubles(x) {
			VFMADD231PD(half, half, acc[2*u+i])
		}
	})
	Store(s.foldDoubles(s.gather(acc, VADDPD)), ReturnIndex(0))
	end()
}

// doubles widens the lower and the upper half of x.
func (s *set) doubles(x reg.VecVirtual) [2]reg.VecVirtual {
	lo, hi := s.halves(x)
	a, b := s.vec(), s.vec()
	VCVTPS2PD(lo, a)
	VCVTPS2PD(hi, b)
	return [2]reg.VecVirtual{a, b}
}

func (s *set) foldDoubles(x reg.VecVirtual) reg.VecVirtual {
	sum, t := s.quarter(x, VADDPD), XMM()
	VPERMILPD(U8(1), sum, t)
	VADDPD(t, sum, sum)
	return sum
}
