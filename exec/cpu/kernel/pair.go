package kernel

import "math"

// A pair is two bf16 numbers, neighbours along K, in the bits of a float32: the
// first in the lower half. Pairs are only copied and transposed as float32,
// which keeps their bits.
//
// A number is rounded to bf16 to nearest, ties to even. A denormal becomes zero
// of its sign, an infinity stays, and a NaN stays one. All of that is what the
// processor's instructions do, and roundBF16 does the same without them.
//
// Products of pairs, VDPBF16PS, are exact, and are added to a float32 one by one:
// the second of the pair first, with denormal sums flushed to zero. The
// emulation adds the same products in the order of K and keeps denormals, so
// that results differ by the rounding of sums.

// pairLoops are the inner loops for pairs.
type pairLoops struct {
	// tile is inner.tile on pairs: kc of them, and strides in them.
	tile tileFunc
	// row sets dst to the pairs of x; a last one without partner gets a zero.
	row func(dst, x []float32)
	// columns sets dst[p*ldd+c] to the pair of src[2p*lds+c] and
	// src[(2p+1)*lds+c] for c < cols; the last of an odd number of rows gets
	// zeros for partners.
	columns func(dst []float32, ldd int, src []float32, lds, rows, cols int)
	// split deals rows of src [rows, 8 panels], paired as by columns, out to
	// panels [pairs, 8] that start next elements apart; rows and panels are even.
	split func(dst []float32, next int, src []float32, lds, rows, panels int)
	// columnsBF16 and splitBF16 are columns and split of what is bf16 already.
	columnsBF16 func(dst []float32, ldd int, src []uint16, lds, rows, cols int)
	splitBF16   func(dst []float32, next int, src []uint16, lds, rows, panels int)
	// transpose sets dst[p*ldd+r] to the pair of src[r*lds+2p] and the next for
	// r < rows; a last one without partner gets a zero.
	transpose func(dst []float32, ldd int, src []float32, lds, rows, cols int)

	// mulAdds runs n rounds of z = z + x0 y0 + x1 y1 on chains numbers, zero at
	// first, for pairs x and y, and gives their sum.
	mulAdds func(n int, x, y *float32) float32
	chains  int
}

// format is how a product's operands are laid out for the micro-kernel: in
// lanes of 32 bits.
type format uint8

const (
	plain   format = iota // float32
	rounded               // float32, rounded to bf16
	paired                // pairs
)

// format is that of a product, with bf16 or without.
func (in *inner) format(bf16 bool) format {
	switch {
	case !bf16:
		return plain
	case in.pairs == nil:
		return rounded
	}
	return paired
}

// lanes is how many lanes k neighbours along K take.
func (f format) lanes(k int) int {
	if f == paired {
		return ceil(k, 2)
	}
	return k
}

// HasBF16 tells whether the instruction set in use multiplies bf16 natively.
// Where it does not, products of bf16 are computed in float32 on rounded
// numbers, which takes the time of float32 and a little more.
func HasBF16() bool { return active.Load().pairs != nil }

// RoundBF16 sets y to x rounded to bf16, as products with BF16 see it.
func RoundBF16(y, x []float32) { active.Load().roundBF16(y[:len(x)], x) }

// roundBF16Generic rounds one number.
func roundBF16Generic(x float32) float32 {
	u := math.Float32bits(x)
	switch e := u & 0x7f800000; {
	case x != x:
		u |= 1 << 22
	case e == 0:
		u &= 1 << 31
	default:
		u += 0x7fff + u>>16&1
	}
	return math.Float32frombits(u &^ 0xffff)
}

// pairOf rounds two numbers.
func pairOf(first, second float32) float32 {
	return math.Float32frombits(math.Float32bits(roundBF16Generic(first))>>16 | math.Float32bits(roundBF16Generic(second)))
}

// pairTransposeGeneric is pairLoops.transpose in portable Go: the edges of the
// assembly's.
func pairTransposeGeneric(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	for r := range rows {
		x := src[r*lds:][:cols]
		for p := range cols / 2 {
			dst[p*ldd+r] = pairOf(x[2*p], x[2*p+1])
		}
		if cols%2 != 0 {
			dst[cols/2*ldd+r] = pairOf(x[cols-1], 0)
		}
	}
}
