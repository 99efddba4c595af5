package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// expTerms are the coefficients of exp, highest first: minimax, the last two
// fixed.
var expTerms = []float64{1.38145986467e-3, 8.36871687973e-3, 4.16683880453e-2, 1.66665206317e-1, 4.99999934478e-1, 1, 1}

const (
	log2e   = 1.44269504088896341
	ln2High = 0.693359375 // 9 bits: a product with an exponent is exact
	ln2Low  = -2.12194440e-4
	expMin  = -104
	expMax  = 89
)

// holdExp holds the constants of exp.
func (s *set) holdExp() {
	s.hold(append([]float64{log2e, -ln2High, -ln2Low, expMin, expMax}, expTerms...)...)
}

// exp is the exponential within 1 ulp: x = n ln 2 + r, and a polynomial in r.
// generic_math.go has the same algorithm.
func (s *set) exp(x reg.VecVirtual) reg.VecVirtual {
	// NaN goes through: it is the first operand.
	x = s.max(x, s.constant(expMin))
	x = s.min(x, s.constant(expMax))
	n := s.round(s.mul(s.k(log2e), x))
	r := x
	s.fmaTo(r, s.k(-ln2High), n)
	s.fmaTo(r, s.k(-ln2Low), n)
	return s.timesPower2(s.horner(r, expTerms...), n)
}

// powerTerms are the coefficients of power, highest first.
var powerTerms = []float64{0.00186713008191, 0.00901703028444, 0.055799913146, 0.240164450136, 0.693151311808, 1}

// power is 2^x within 2 ulp: x = n + r with n whole and r in [0, 1], and a
// polynomial in r. generic_math.go has the same algorithm.
func (s *set) power(x reg.VecVirtual) reg.VecVirtual {
	polynomial := func(r reg.VecVirtual) reg.VecVirtual {
		return s.horner(r, powerTerms...)
	}
	const down = U8(9)
	if s.wide {
		// Of infinity, the fraction is 0. The scaling rounds x down itself.
		r, y := s.vec(), s.vec()
		VREDUCEPS(down, x, r)
		VSCALEFPS(x, polynomial(r), y)
		return y
	}
	// NaN goes through: it is the first operand.
	x = s.max(x, s.constant(-160))
	x = s.min(x, s.constant(130))
	n := s.vec()
	VROUNDPS(down, x, n)
	return s.timesPower2(polynomial(s.sub(n, x)), n)
}

// round is the nearest integer, ties to even.
func (s *set) round(x Op) reg.VecVirtual {
	y := s.vec()
	if s.wide {
		VRNDSCALEPS(U8(8), x, y)
	} else {
		VROUNDPS(U8(8), x, y)
	}
	return y
}

// timesPower2 is p 2^n, n whole.
func (s *set) timesPower2(p, n reg.VecVirtual) reg.VecVirtual {
	if s.wide {
		y := s.vec()
		VSCALEFPS(n, p, y)
		return y
	}
	// In two factors, since 2^n alone may be out of range.
	i, half := s.vec(), s.vec()
	VCVTPS2DQ(n, i)
	VPSRAD(U8(1), i, half)
	VPSUBD(half, i, i)
	for _, e := range []reg.VecVirtual{half, i} {
		VPADDD(s.bits(127), e, e)
		VPSLLD(U8(23), e, e)
		p = s.mul(e, p)
	}
	return p
}

// onePlusExp is 1 + exp(x).
func (s *set) onePlusExp(x reg.VecVirtual) reg.VecVirtual { return s.add(s.k(1), s.exp(x)) }

// tanh is x + x^3 P(x^2) near zero (Cephes tanhf), 1 - 2/(exp(2|x|)+1)
// elsewhere.
func (s *set) tanh(x reg.VecVirtual) reg.VecVirtual {
	a := s.abs(x)
	far := s.sub(s.div(s.onePlusExp(s.add(a, a)), s.constant(2)), s.constant(1))
	far = s.signed(far, x)
	z := s.mul(x, x)
	near := s.horner(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
	near = s.mul(z, near)
	s.fma(near, x, x)
	return s.choose(a, s.constant(0.625), near, far)
}

// erf is x + x P(x^2) near zero, 1 - exp(-|x| + |x| Q(|x|)) elsewhere: N.
// Juffa's minimax polynomials.
func (s *set) erf(x reg.VecVirtual) reg.VecVirtual {
	a := s.abs(x)
	t := s.min(a, s.constant(5))
	q := s.horner(t, -1.72853470e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -1.06777877e-1, -6.34846687e-1, -1.28717512e-1)
	q = s.sub(t, s.mul(t, q))
	far := s.signed(s.sub(s.exp(q), s.constant(1)), x)
	z := s.mul(x, x)
	near := s.horner(z, -5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1)
	s.fma(near, x, x)
	return s.choose(a, s.constant(0.927734375), near, far)
}

const (
	geluScale  = 0.7978845608028654 // sqrt(2/pi)
	geluCubic  = 0.044715
	invSqrt2   = 0.7071067811865476
	invSqrtTau = 0.3989422804014327 // 1/sqrt(2 pi)
)

// geluTerms are the coefficients of -2u as a power of two over x.
var geluTerms = []float64{-2 * log2e * geluScale * geluCubic, -2 * log2e * geluScale}

func (s *set) holdGELU() { s.hold(append(geluTerms, powerTerms...)...) }

// geluDenominator is 1 + exp(-2u), u = geluScale (x + geluCubic x^3).
func (s *set) geluDenominator(x, x2 reg.VecVirtual) reg.VecVirtual {
	return s.add(s.k(1), s.power(s.mul(x, s.horner(x2, geluTerms...))))
}

func (s *set) geluTanh(x reg.VecVirtual) reg.VecVirtual {
	return s.div(s.geluDenominator(x, s.mul(x, x)), x)
}

// logisticSlope is s + x s (1-s) f: the slope of x sigmoid(u) where f = u'.
func (s *set) logisticSlope(x, sigmoid reg.VecVirtual, f Op) reg.VecVirtual {
	rest := s.sub(sigmoid, s.constant(1))
	rest = s.mul(f, s.mul(x, rest))
	return s.fma(rest, sigmoid, sigmoid)
}

func (s *set) geluTanhSlope(x reg.VecVirtual) reg.VecVirtual {
	x2 := s.mul(x, x)
	sigmoid := s.div(s.geluDenominator(x, x2), s.constant(1))
	slope := s.constant(6 * geluScale * geluCubic)
	s.fma(slope, x2, s.k(2*geluScale))
	return s.logisticSlope(x, sigmoid, slope)
}

// normalCDF is (1 + erf(x / sqrt 2)) / 2.
func (s *set) normalCDF(x reg.VecVirtual) reg.VecVirtual {
	e := s.erf(s.mul(s.k(invSqrt2), x))
	return s.fma(e, s.constant(0.5), s.k(0.5))
}

func (s *set) geluErf(x reg.VecVirtual) reg.VecVirtual { return s.mul(x, s.normalCDF(x)) }

func (s *set) geluErfSlope(x reg.VecVirtual) reg.VecVirtual {
	density := s.exp(s.mul(s.k(-0.5), s.mul(x, x)))
	density = s.mul(s.k(invSqrtTau), s.mul(x, density))
	return s.add(density, s.normalCDF(x))
}

func (s *set) sigmoid(x reg.VecVirtual) reg.VecVirtual {
	return s.div(s.onePlusExp(s.negative(x)), s.constant(1))
}

func (s *set) negative(x reg.VecVirtual) reg.VecVirtual {
	return s.mul(s.k(-1), x)
}

func (s *set) silu(x reg.VecVirtual) reg.VecVirtual {
	return s.div(s.onePlusExp(s.negative(x)), x)
}

func (s *set) siluSlope(x reg.VecVirtual) reg.VecVirtual {
	return s.logisticSlope(x, s.sigmoid(x), s.constant(1))
}
