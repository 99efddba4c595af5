package kernel

// inner is the set of inner loops of one instruction set. Slices that are
// called together have one length unless the comment says otherwise.
type inner struct {
	isa ISA

	// mr and nr are the rows and columns of C that tile computes at most.
	mr, nr int
	tile   tileFunc
	dots   dotsFunc

	// transpose sets dst[c*ldd+r] = src[r*lds+c] for r < rows, c < cols.
	transpose func(dst []float32, ldd int, src []float32, lds, rows, cols int)

	// copyPanel copies rows of nr elements, lds from row to row in src, one
	// after the other until dst is full.
	copyPanel func(dst, src []float32, lds int)
	// splitRows deals rows of src [rows, 8 panels] out to panels [rows, 8] that
	// start next elements apart in dst; nil where panels are not 8 wide.
	splitRows func(dst []float32, next int, src []float32, lds, rows, panels int)
	// prefetch brings rows [rows, cols] of src into the L2 cache; nil where
	// that is not possible.
	prefetch func(src []float32, lds, rows, cols int)

	exp, tanh, sigmoid, erf             func(y, x []float32)
	geluTanh, geluErf, silu             func(y, x []float32)
	geluTanhGrad, geluErfGrad, siluGrad func(dx, dy, x []float32)
	add, mul                            func(y, a, b []float32)
	scale                               func(y, x []float32, s float32) // y = s x
	axpy                                func(y, x []float32, a float32) // y += a x
	sum, max                            func(x []float32) float32
	dot                                 func(x, y []float32) float32
	sumSquares                          func(x []float32) float64
	squaredDeviation                    func(x []float32, mean float32) float32 // sum of (x-mean)^2
	powerSum                            powerSumFunc
	powerScale                          func(y, x []float32, shift, s float32) // y = s 2^(log2e x - shift)
	norm                                func(y, x, gamma, beta []float32, mean, rstd float32)
	normScale                           func(y, x, gamma []float32, mean, rstd float32)
	normSums                            normSumsFunc
	normGrad                            func(dx, dy, x, gamma []float32, mean, rstd, m1, m2 float32)
	adamW                               func(p, m, v, g []float32, k *adamWFactors)
	dropout                             func(y, x []float32, block uint64, k *dropoutFactors) // len(y) a multiple of 32
	columnSum                           func(y, x []float32, ld, rows int)                    // y += column sums of x [rows, len(y)]

	// The blocks of attention.
	product     productFunc
	columnMax   func(m, s []float32, ld, rows int)
	columnPower func(l, s, m []float32, ld, rows int, scale float32)
	columnGrad  columnGradFunc
	columnHide  func(s []float32, ld, rows, hidden int)
	log2        func(y, x []float32) // of normal positive numbers
	rowScale    func(y []float32, ldy int, x []float32, ldx, cols int, factors []float32)
	pairDots    func(out, x []float32, ldx int, y []float32, ldy, cols int)

	// pairs are the loops for bf16, nil where the processor lacks them; roundBF16
	// rounds to bf16. narrow rounds to bf16 and widen gives float32 again, of a
	// multiple of vector elements; nil in portable Go.
	pairs     *pairLoops
	roundBF16 func(y, x []float32)
	narrow    func(y []uint16, x []float32)
	widen     func(y []float32, x []uint16)
	vector    int

	// mulAdds runs n rounds of z = z x + y on chains numbers, zero at first,
	// and gives their sum.
	mulAdds func(n int, x, y float32) float32
	chains  int
	// triad sets y = a + s b. y starts at a multiple of 64 bytes; its length is
	// a multiple of 16.
	triad func(y, a, b []float32, s float32)
}

// tileFunc computes C [rows, cols] = op(A) B (+ C) (+ bias), where rows <= mr,
// cols <= nr, and the elements of A lie at a[r*rs+k*ks]. B has rows of ldb
// elements, so packed panels and plain matrices both serve. A nil bias adds
// nothing.
type tileFunc func(kc int, a []float32, rs, ks int, b []float32, ldb int, c []float32, ldc, rows, cols int, accumulate bool, bias []float32)

// dotsFunc computes out[r*4+j] = dot(a row r, b row j) over k elements for
// rows <= 4 rows of A and 4 rows of B.
type dotsFunc func(out []float32, k int, a []float32, lda, rows int, b []float32, ldb int)

// powerSumFunc gives the sum of 2^(log2e x - shift), and the largest x.
type powerSumFunc func(x []float32, shift float32) (sum, most float32)

// normSumsFunc gives s1 = sum of dy gamma and s2 = sum of dy gamma xhat, where
// xhat = (x-mean) rstd, and adds dy xhat to dgamma and dy to dbeta.
type normSumsFunc func(dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32) (s1, s2 float32)

// productFunc computes C [rows, cols] = A B (+ C), where the elements of A lie
// at a[r*rs+k*ks], and B [kc, cols] and C have rows of ldb and ldc elements.
type productFunc func(rows, cols, kc int, a []float32, rs, ks int, b []float32, ldb int, c []float32, ldc int, accumulate bool)

// The column functions see a block s [rows, len(m)] with rows of ld elements
// whose columns are independent softmaxes; len(m) is a multiple of 16.
// columnMax sets m = max(m, column maxima); columnPower sets s = 2^(scale s-m)
// and adds the column sums to l. columnGradFunc sets s to p = 2^(factor s-lse)
// and d to scale p (d-delta). columnHide sets the first hidden+r of 16 elements
// of each row r to minus infinity.
//
// rowScale sets the rows of y to those of x times a factor each, pairDots sets
// out to the products of the rows of x with those of y.
type columnGradFunc func(s, d, lse, delta []float32, ld, rows int, factor, scale float32)
