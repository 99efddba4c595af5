package kernel

// checkTile panics, by the run time's bounds checks, where a micro-kernel would
// leave its slices: the assembly does not look.
func checkTile(kc int, a []float32, rs, ks int, b []float32, ldb int, c []float32, ldc, rows, cols int, bias []float32) {
	_ = a[(rows-1)*rs+(kc-1)*ks]
	_ = b[(kc-1)*ldb+cols-1]
	_ = c[(rows-1)*ldc+cols-1]
	if bias != nil {
		_ = bias[cols-1]
	}
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func first(x []float32) *float32 {
	if len(x) == 0 {
		return nil
	}
	return &x[0]
}

// tileAVX512 is the micro-kernel of 8 rows by 3 vectors, and of 4, 2 and 1
// rows and fewer vectors at the edges.
func tileAVX512(kc int, a []float32, rs, ks int, b []float32, ldb int, c []float32, ldc, rows, cols int, accumulate bool, bias []float32) {
	checkTile(kc, a, rs, ks, b, ldb, c, ldc, rows, cols, bias)
	f, pb, pbias, vectors := flag(accumulate), &b[0], first(bias), (cols+15)/16
	tail := cols - 16*(vectors-1)
	for r := 0; r < rows; {
		pa, pc := &a[r*rs], &c[r*ldc]
		switch left := rows - r; {
		case left >= 8:
			switch vectors {
			case 3:
				tile8x48AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 2:
				tile8x32AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			default:
				tile8x16AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			}
			r += 8
		case left >= 4:
			switch vectors {
			case 3:
				tile4x48AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 2:
				tile4x32AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			default:
				tile4x16AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			}
			r += 4
		case left >= 2:
			switch vectors {
			case 3:
				tile2x48AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 2:
				tile2x32AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			default:
				tile2x16AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			}
			r += 2
		default:
			switch vectors {
			case 3:
				tile1x48AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 2:
				tile1x32AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			default:
				tile1x16AVX512(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			}
			r++
		}
	}
}

// tileAVX2 is the micro-kernel of 6 rows by 2 vectors, and of 4, 2 and 1 rows
// and fewer, or partial, vectors at the edges.
func tileAVX2(kc int, a []float32, rs, ks int, b []float32, ldb int, c []float32, ldc, rows, cols int, accumulate bool, bias []float32) {
	checkTile(kc, a, rs, ks, b, ldb, c, ldc, rows, cols, bias)
	f, pb, pbias, vectors := flag(accumulate), &b[0], first(bias), (cols+7)/8
	tail := cols - 8*(vectors-1)
	kind := vectors
	if tail < 8 {
		kind += 2
	}
	for r := 0; r < rows; {
		pa, pc := &a[r*rs], &c[r*ldc]
		switch left := rows - r; {
		case left >= 6:
			switch kind {
			case 2:
				tile6x16AVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 1:
				tile6x8AVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 4:
				tile6x16MaskedAVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			default:
				tile6x8MaskedAVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			}
			r += 6
		case left >= 4:
			switch kind {
			case 2:
				tile4x16AVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 1:
				tile4x8AVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 4:
				tile4x16MaskedAVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			default:
				tile4x8MaskedAVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			}
			r += 4
		case left >= 2:
			switch kind {
			case 2:
				tile2x16AVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 1:
				tile2x8AVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 4:
				tile2x16MaskedAVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			default:
				tile2x8MaskedAVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			}
			r += 2
		default:
			switch kind {
			case 2:
				tile1x16AVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 1:
				tile1x8AVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			case 4:
				tile1x16MaskedAVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			default:
				tile1x8MaskedAVX2(kc, pa, rs, ks, pb, ldb, pc, ldc, f, pbias, tail)
			}
			r++
		}
	}
}

func checkDots(out []float32, k int, a []float32, lda, rows int, b []float32, ldb int) {
	_ = out[rows*4-1]
	_ = a[(rows-1)*lda+k-1]
	_ = b[3*ldb+k-1]
}

func dotsAVX512(out []float32, k int, a []float32, lda, rows int, b []float32, ldb int) {
	checkDots(out, k, a, lda, rows, b, ldb)
	for r := 0; r < rows; {
		switch left := rows - r; {
		case left >= 4:
			dots4AVX512(k, &a[r*lda], lda, &b[0], ldb, &out[r*4])
			r += 4
		case left >= 2:
			dots2AVX512(k, &a[r*lda], lda, &b[0], ldb, &out[r*4])
			r += 2
		default:
			dots1AVX512(k, &a[r*lda], lda, &b[0], ldb, &out[r*4])
			r++
		}
	}
}

func dotsAVX2(out []float32, k int, a []float32, lda, rows int, b []float32, ldb int) {
	checkDots(out, k, a, lda, rows, b, ldb)
	for r := 0; r < rows; {
		if rows-r >= 2 {
			dots2AVX2(k, &a[r*lda], lda, &b[0], ldb, &out[r*4])
			r += 2
		} else {
			dots1AVX2(k, &a[r*lda], lda, &b[0], ldb, &out[r*4])
			r++
		}
	}
}

// transposeBlocks transposes whole blocks of side rows and columns by f, and
// what is left element by element.
func transposeBlocks(side int, f func(blocks int, src *float32, lds int, dst *float32, ldd int), dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if rows <= 0 || cols <= 0 {
		return
	}
	_ = src[(rows-1)*lds+cols-1]
	_ = dst[(cols-1)*ldd+rows-1]
	r, blocks := 0, cols/side
	for ; blocks > 0 && r+side <= rows; r += side {
		f(blocks, &src[r*lds], 4*lds, &dst[r], 4*ldd)
		if done := blocks * side; done < cols {
			transposeGeneric(dst[done*ldd+r:], ldd, src[r*lds+done:], lds, side, cols-done)
		}
	}
	if r < rows {
		transposeGeneric(dst[r:], ldd, src[r*lds:], lds, rows-r, cols)
	}
}

func transposeAVX2Blocks(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	transposeBlocks(8, transpose8AVX2, dst, ldd, src, lds, rows, cols)
}

func transposeAVX512Blocks(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	side, f := 16, transpose16AVX512
	if rows < 16 {
		side, f = 8, transpose8AVX512
	}
	transposeBlocks(side, f, dst, ldd, src, lds, rows, cols)
}

// copyPanelRows checks what the assembly does not.
func copyPanelRows(nr int, f func(rows int, dst *float32, src *float32, lds int), dst, src []float32, lds int) {
	rows := len(dst) / nr
	if rows == 0 {
		return
	}
	_ = src[(rows-1)*lds+nr-1]
	f(rows, &dst[0], &src[0], 4*lds)
}

func copyPanelAVX512Rows(dst, src []float32, lds int) {
	copyPanelRows(48, copyPanelAVX512, dst, src, lds)
}

func copyPanelAVX2Rows(dst, src []float32, lds int) {
	copyPanelRows(16, copyPanelAVX2, dst, src, lds)
}

func splitRowsAVX512Panels(dst []float32, next int, src []float32, lds, rows, panels int) {
	if rows == 0 || panels == 0 {
		return
	}
	_ = src[(rows-1)*lds+panels*panelA-1]
	_ = dst[(panels-1)*next+rows*panelA-1]
	splitRowsAVX512(panels, rows, &dst[0], 4*next, &src[0], 4*lds)
}

// prefetchLines calls f for rows that lie within src.
func prefetchLines(f func(rows, lines int, src *float32, lds int), src []float32, lds, rows, cols int) {
	if rows > 0 && cols > 0 {
		_ = src[(rows-1)*lds+cols-1]
		f(rows, (cols+15)/16, &src[0], 4*lds)
	}
}

func prefetchAVX512(src []float32, lds, rows, cols int) {
	prefetchLines(prefetchRowsAVX512, src, lds, rows, cols)
}

func prefetchAVX2(src []float32, lds, rows, cols int) {
	prefetchLines(prefetchRowsAVX2, src, lds, rows, cols)
}
