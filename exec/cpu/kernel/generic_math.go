package kernel

import "math"

// The functions below are the assembly's algorithms, step by step.

const (
	log2e  = 1.44269504088896341
	ln2Hi  = 0.693359375 // 9 bits: a product with an exponent is exact
	ln2Lo  = -2.12194440e-4
	expMin = -104 // exp rounds to 0 from here on
	expMax = 89   // exp overflows before here
	round  = 3 << 22
)

// expGeneric is exp(x) within 1 ulp: x = n ln 2 + r with |r| <= ln 2 / 2,
// and a minimax polynomial of degree 6 in r.
func expGeneric(x float32) float32 {
	if x != x {
		return x
	}
	x = min(max(x, expMin), expMax)
	n := float32(float32(x*log2e)+round) - round
	r := x - float32(n*ln2Hi)
	r -= n * ln2Lo
	p := float32(1.38145986467e-3)
	p = p*r + 8.36871687973e-3
	p = p*r + 4.16683880453e-2
	p = p*r + 1.66665206317e-1
	p = p*r + 4.99999934478e-1
	p = p*(r*r) + r + 1
	// Two factors: 2^n alone may be out of range.
	half := int32(n) >> 1
	return p * power2(half) * power2(int32(n)-half)
}

// powerGeneric is 2^x within 2 ulp: x = n + r with n whole and r in [0, 1], and
// a minimax polynomial of degree 5 in r.
func powerGeneric(x float32) float32 {
	if x != x {
		return x
	}
	x = min(max(x, -160), 130)
	n := float32(x-0.5+round) - round
	r := x - n
	p := float32(0.00186713008191)
	p = p*r + 0.00901703028444
	p = p*r + 0.055799913146
	p = p*r + 0.240164450136
	p = p*r + 0.693151311808
	p = p*r + 1
	half := int32(n) >> 1
	return p * power2(half) * power2(int32(n)-half)
}

// log2Generic is the binary logarithm of x = 2^k m, m in [3/4, 3/2): a series
// in (m-1)/(m+1).
func log2Generic(x float32) float32 {
	k := int32(math.Float32bits(x*(4./3))>>23) - 127
	m := math.Float32frombits(math.Float32bits(x) - uint32(k)<<23)
	z := (m - 1) / (m + 1)
	square := z * z
	p := float32(2 * log2e / 11)
	p = p*square + 2*log2e/9
	p = p*square + 2*log2e/7
	p = p*square + 2*log2e/5
	p = p*square + 2*log2e/3
	p = p*square + 2*log2e
	return p*z + (float32(k) + (x - x)) // NaN stays one
}

// power2 is 2^n for n in [-126, 127].
func power2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

func sigmoidGeneric(x float32) float32 { return 1 / (1 + expGeneric(-x)) }

// tanhGeneric is odd x + x^3 P(x^2) near zero (Cephes tanhf), elsewhere 1 -
// 2/(exp(2|x|)+1).
func tanhGeneric(x float32) float32 {
	a := abs(x)
	if !(a >= 0.625) {
		z := x * x
		p := float32(-5.70498872745e-3)
		p = p*z + 2.06390887954e-2
		p = p*z - 5.37397155531e-2
		p = p*z + 1.33314422036e-1
		p = p*z - 3.33332819422e-1
		return p*z*x + x
	}
	return copysign(1-2/(expGeneric(2*a)+1), x)
}

// erfGeneric follows N. Juffa's two minimax polynomials: x + x P(x^2) near
// zero, 1 - exp(-|x| + |x| Q(|x|)) elsewhere.
func erfGeneric(x float32) float32 {
	a, z := abs(x), x*x
	if !(a > 0.927734375) {
		p := float32(-5.96761703e-4)
		p = p*z + 4.99119423e-3
		p = p*z - 2.67681349e-2
		p = p*z + 1.12819925e-1
		p = p*z - 3.76125336e-1
		p = p*z + 1.28379166e-1
		return p*x + x
	}
	a = min(a, 5)
	p := float32(-1.72853470e-5)
	p = p*a + 3.83197126e-4
	p = p*a - 3.88396438e-3
	p = p*a + 2.42546219e-2
	p = p*a - 1.06777877e-1
	p = p*a - 6.34846687e-1
	p = p*a - 1.28717512e-1
	return copysign(1-expGeneric(p*a-a), x)
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

func copysign(x, sign float32) float32 {
	return math.Float32frombits(math.Float32bits(x)&^(1<<31) | math.Float32bits(sign)&(1<<31))
}

const (
	geluScale  = 0.7978845608028654 // sqrt(2/pi)
	geluCubic  = 0.044715
	invSqrt2   = 0.7071067811865476
	invSqrtTau = 0.3989422804014327 // 1/sqrt(2 pi)
)

func geluTanhGeneric(x float32) float32 {
	return x / (1 + powerGeneric(-2*log2e*geluScale*x*(1+geluCubic*x*x)))
}

// geluTanhSlope is s + x s (1-s) 2u', s the sigmoid of 2u.
func geluTanhSlope(x float32) float32 {
	s := 1 / (1 + powerGeneric(-2*log2e*geluScale*x*(1+geluCubic*x*x)))
	return s + x*s*(1-s)*(2*geluScale*(1+3*geluCubic*x*x))
}

func geluErfGeneric(x float32) float32 { return 0.5 * x * (1 + erfGeneric(x*invSqrt2)) }

func geluErfSlope(x float32) float32 {
	return 0.5*(1+erfGeneric(x*invSqrt2)) + x*invSqrtTau*expGeneric(-0.5*x*x)
}

func siluGeneric(x float32) float32 { return x / (1 + expGeneric(-x)) }

func siluSlope(x float32) float32 {
	s := sigmoidGeneric(x)
	return s + x*s*(1-s)
}
