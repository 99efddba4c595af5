package kernel

// productAVX512 divides the columns into strips of at most four vectors, of
// about one width.
func productAVX512(rows, cols, kc int, a []float32, rs, ks int, b []float32, ldb int, c []float32, ldc int, accumulate bool) {
	if rows <= 0 || kc <= 0 {
		return
	}
	checkTile(kc, a, rs, ks, b, ldb, c, ldc, rows, cols, nil)
	f, left := flag(accumulate), (cols+15)/16
	for j := 0; j < cols; {
		vectors := ceil(left, ceil(left, 4))
		n := min(cols-j, 16*vectors)
		tail := n - 16*(vectors-1)
		switch pa, pb, pc := &a[0], &b[j], &c[j]; vectors {
		case 4:
			product4AVX512(rows, kc, pa, rs, ks, pb, ldb, pc, ldc, f, tail)
		case 3:
			product3AVX512(rows, kc, pa, rs, ks, pb, ldb, pc, ldc, f, tail)
		case 2:
			product2AVX512(rows, kc, pa, rs, ks, pb, ldb, pc, ldc, f, tail)
		default:
			product1AVX512(rows, kc, pa, rs, ks, pb, ldb, pc, ldc, f, tail)
		}
		j, left = j+n, left-vectors
	}
}

// The assembly does not look where rows end: what would leave a slice panics
// in the functions below.

func hideBlock(f func(s []float32, ld, rows, hidden int)) func(s []float32, ld, rows, hidden int) {
	return func(s []float32, ld, rows, hidden int) {
		_ = s[:(rows-1)*ld+hideStep]
		f(s, ld, rows, hidden)
	}
}

func scaleRows(f func(y *float32, ldy int, x *float32, ldx, cols int, factors []float32)) func(y []float32, ldy int, x []float32, ldx, cols int, factors []float32) {
	return func(y []float32, ldy int, x []float32, ldx, cols int, factors []float32) {
		last := len(factors) - 1
		_, _ = y[:last*ldy+cols], x[:last*ldx+cols]
		f(&y[0], ldy, &x[0], ldx, cols, factors)
	}
}

func dotPairs(f func(out []float32, x *float32, ldx int, y *float32, ldy, cols int)) func(out, x []float32, ldx int, y []float32, ldy, cols int) {
	return func(out, x []float32, ldx int, y []float32, ldy, cols int) {
		last := len(out) - 1
		_, _ = x[:last*ldx+cols], y[:last*ldy+cols]
		f(out, &x[0], ldx, &y[0], ldy, cols)
	}
}
