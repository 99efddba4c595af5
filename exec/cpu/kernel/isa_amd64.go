package kernel

import "golang.org/x/sys/cpu"

// available lists the instruction sets of this processor, best first.
func available() []*inner {
	var sets []*inner
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL && cpu.X86.HasBMI2 {
		sets = append(sets, avx512Inner)
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasBMI2 {
		sets = append(sets, avx2Inner)
	}
	return append(sets, genericInner)
}

func init() {
	if cpu.X86.HasAVX512BF16 {
		avx512Inner.pairs = avx512Pairs
	}
}

var avx512Inner = &inner{
	isa: AVX512, mr: 8, nr: 48,
	tile: tileAVX512, dots: dotsAVX512, transpose: transposeAVX512Blocks, copyPanel: copyPanelAVX512Rows,
	splitRows: splitRowsAVX512Panels, prefetch: prefetchAVX512,

	exp: expAVX512, tanh: tanhAVX512, sigmoid: sigmoidAVX512, erf: erfAVX512,
	geluTanh: geluTanhAVX512, geluErf: geluErfAVX512, silu: siluAVX512,
	geluTanhGrad: geluTanhGradAVX512, geluErfGrad: geluErfGradAVX512, siluGrad: siluGradAVX512,

	add: addAVX512, mul: mulAVX512, scale: scaleAVX512, axpy: axpyAVX512,
	sum: sumAVX512, max: maxAVX512, dot: dotAVX512,
	sumSquares: sumSquaresAVX512, squaredDeviation: squaredDeviationAVX512,
	powerSum: powerSumAVX512, powerScale: powerScaleAVX512,
	norm: normAVX512, normScale: normScaleAVX512,
	normSums: normSumsAVX512, normGrad: normGradAVX512,
	adamW: adamWAVX512, dropout: dropoutAVX512,
	columnSum: columnSumAVX512,

	product: productAVX512, columnMax: columnMaxAVX512, columnPower: columnPowerAVX512, columnGrad: columnGradAVX512,
	columnHide: hideBlock(columnHideAVX512), log2: log2AVX512, rowScale: scaleRows(rowScaleAVX512), pairDots: dotPairs(pairDotsAVX512),

	roundBF16: roundBF16AVX512, narrow: narrowAVX512, widen: widenAVX512, vector: 16,

	mulAdds: mulAddsAVX512, chains: 384, triad: triadAVX512,
}

var avx2Inner = &inner{
	isa: AVX2, mr: 6, nr: 16,
	tile: tileAVX2, dots: dotsAVX2, transpose: transposeAVX2Blocks, copyPanel: copyPanelAVX2Rows,
	prefetch: prefetchAVX2,

	exp: expAVX2, tanh: tanhAVX2, sigmoid: sigmoidAVX2, erf: erfAVX2,
	geluTanh: geluTanhAVX2, geluErf: geluErfAVX2, silu: siluAVX2,
	geluTanhGrad: geluTanhGradAVX2, geluErfGrad: geluErfGradAVX2, siluGrad: siluGradAVX2,

	add: addAVX2, mul: mulAVX2, scale: scaleAVX2, axpy: axpyAVX2,
	sum: sumAVX2, max: maxAVX2, dot: dotAVX2,
	sumSquares: sumSquaresAVX2, squaredDeviation: squaredDeviationAVX2,
	powerSum: powerSumAVX2, powerScale: powerScaleAVX2,
	norm: normAVX2, normScale: normScaleAVX2,
	normSums: normSumsAVX2, normGrad: normGradAVX2,
	adamW: adamWAVX2, dropout: dropoutAVX2,
	columnSum: columnSumAVX2,

	product: productTiles(tileAVX2, 6, 16), columnMax: columnMaxAVX2, columnPower: columnPowerAVX2, columnGrad: columnGradAVX2,
	columnHide: hideBlock(columnHideAVX2), log2: log2AVX2, rowScale: scaleRows(rowScaleAVX2), pairDots: dotPairs(pairDotsAVX2),

	roundBF16: roundBF16AVX2, narrow: narrowAVX2, widen: widenAVX2, vector: 8,

	mulAdds: mulAddsAVX2, chains: 96, triad: triadAVX2,
}
