package kernel

import "math/bits"

var avx512Pairs = &pairLoops{
	tile: pairTileAVX512, row: pairRowOf, columns: pairColumnsOf, split: splitPairsOf, transpose: pairTransposeOf,
	columnsBF16: joinColumnsOf, splitBF16: splitWordsOf,
	mulAdds: pairMulAddsAVX512, chains: 384,
}

// pairTiles are the micro-kernels of 1, 2, 4 and 8 rows and 1 to 3 vectors.
var pairTiles = [4][3]func(kc int, a *float32, rs, ks int, b *float32, ldb int, c *float32, ldc int, accumulate int, bias *float32, tail int){
	{pairTile1x16AVX512, pairTile1x32AVX512, pairTile1x48AVX512},
	{pairTile2x16AVX512, pairTile2x32AVX512, pairTile2x48AVX512},
	{pairTile4x16AVX512, pairTile4x32AVX512, pairTile4x48AVX512},
	{pairTile8x16AVX512, pairTile8x32AVX512, pairTile8x48AVX512},
}

func pairTileAVX512(kc int, a []float32, rs, ks int, b []float32, ldb int, c []float32, ldc, rows, cols int, accumulate bool, bias []float32) {
	checkTile(kc, a, rs, ks, b, ldb, c, ldc, rows, cols, bias)
	f, pbias, vectors := flag(accumulate), first(bias), (cols+15)/16
	for r := 0; r < rows; {
		kind := min(bits.Len(uint(rows-r)), 4) - 1
		pairTiles[kind][vectors-1](kc, &a[r*rs], rs, ks, &b[0], ldb, &c[r*ldc], ldc, f, pbias, cols-16*(vectors-1))
		r += 1 << kind
	}
}

func pairRowOf(dst, x []float32) {
	if len(x) > 0 {
		_ = dst[(len(x)-1)/2]
		pairRowAVX512(len(x), &dst[0], &x[0])
	}
}

func pairColumnsOf(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if rows <= 0 || cols <= 0 {
		return
	}
	_ = src[(rows-1)*lds+cols-1]
	_ = dst[(rows-1)/2*ldd+cols-1]
	for c := 0; c < cols; c += 48 {
		x, y := &src[c], &dst[c]
		switch n := min(cols-c, 48); (n + 15) / 16 {
		case 3:
			pairColumns3AVX512(rows, y, 4*ldd, x, 4*lds, n-32)
		case 2:
			pairColumns2AVX512(rows, y, 4*ldd, x, 4*lds, n-16)
		default:
			pairColumns1AVX512(rows, y, 4*ldd, x, 4*lds, n)
		}
	}
}

func splitPairsOf(dst []float32, next int, src []float32, lds, rows, panels int) {
	if rows == 0 || panels == 0 {
		return
	}
	_ = src[(rows-1)*lds+panels*panelA-1]
	_ = dst[(panels-1)*next+rows/2*panelA-1]
	splitPairsAVX512(panels/2, rows/2, &dst[0], 4*next, &src[0], 4*lds)
}

func joinColumnsOf(dst []float32, ldd int, src []uint16, lds, rows, cols int) {
	if rows <= 0 || cols <= 0 {
		return
	}
	_ = src[(rows-1)*lds+cols-1]
	_ = dst[(rows-1)/2*ldd+cols-1]
	for c := 0; c < cols; c += 48 {
		x, y := &src[c], &dst[c]
		switch n := min(cols-c, 48); (n + 15) / 16 {
		case 3:
			joinColumns3AVX512(rows, y, 4*ldd, x, 2*lds, n-32)
		case 2:
			joinColumns2AVX512(rows, y, 4*ldd, x, 2*lds, n-16)
		default:
			joinColumns1AVX512(rows, y, 4*ldd, x, 2*lds, n)
		}
	}
}

func splitWordsOf(dst []float32, next int, src []uint16, lds, rows, panels int) {
	if rows == 0 || panels == 0 {
		return
	}
	_ = src[(rows-1)*lds+panels*panelA-1]
	_ = dst[(panels-1)*next+rows/2*panelA-1]
	splitWordsAVX512(panels/2, rows/2, &dst[0], 4*next, &src[0], 2*lds)
}

func pairTransposeOf(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if rows <= 0 || cols <= 0 {
		return
	}
	_ = src[(rows-1)*lds+cols-1]
	_ = dst[(cols-1)/2*ldd+rows-1]
	r, blocks := 0, cols/32
	for ; blocks > 0 && r+16 <= rows; r += 16 {
		pairTranspose16AVX512(blocks, &src[r*lds], 4*lds, &dst[r], 4*ldd)
		if done := blocks * 32; done < cols {
			pairTransposeGeneric(dst[done/2*ldd+r:], ldd, src[r*lds+done:], lds, 16, cols-done)
		}
	}
	if r < rows {
		pairTransposeGeneric(dst[r:], ldd, src[r*lds:], lds, rows-r, cols)
	}
}
