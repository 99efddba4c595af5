package kernel

import "math"

// genericInner is the portable Go twin of the assembly.
var genericInner = &inner{
	isa: Generic, mr: genericTile, nr: genericTile,
	tile: tileGeneric, dots: dotsGeneric, transpose: transposeGeneric, copyPanel: copyPanelGeneric,

	exp: each(expGeneric), tanh: each(tanhGeneric), sigmoid: each(sigmoidGeneric), erf: each(erfGeneric),
	geluTanh: each(geluTanhGeneric), geluErf: each(geluErfGeneric), silu: each(siluGeneric),
	geluTanhGrad: slope(geluTanhSlope), geluErfGrad: slope(geluErfSlope), siluGrad: slope(siluSlope),

	add: addGeneric, mul: mulGeneric, scale: scaleGeneric, axpy: axpyGeneric,
	sum: sumGeneric, max: maxGeneric, dot: dotGeneric,
	sumSquares: sumSquaresGeneric, squaredDeviation: squaredDeviationGeneric,
	powerSum: powerSumGeneric, powerScale: powerScaleGeneric,
	norm: normGeneric, normScale: normScaleGeneric,
	normSums: normSumsGeneric, normGrad: normGradGeneric,
	adamW: adamWGeneric, dropout: dropoutGeneric,
	columnSum: columnSumGeneric,

	product: productTiles(tileGeneric, genericTile, genericTile), columnMax: columnMaxGeneric, columnPower: columnPowerGeneric, columnGrad: columnGradGeneric,
	columnHide: columnHideGeneric, log2: each(log2Generic), rowScale: rowScaleGeneric, pairDots: pairDotsGeneric,

	roundBF16: each(roundBF16Generic),

	mulAdds: mulAddsGeneric, chains: len(starts), triad: triadGeneric,
}

// each applies f to elements.
func each(f func(x float32) float32) func(y, x []float32) {
	return func(y, x []float32) {
		for i, v := range x {
			y[i] = f(v)
		}
	}
}

// slope multiplies by f of elements.
func slope(f func(x float32) float32) func(dx, dy, x []float32) {
	return func(dx, dy, x []float32) {
		for i, v := range x {
			dx[i] = dy[i] * f(v)
		}
	}
}

func addGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = v + b[i]
	}
}

func mulGeneric(y, a, b []float32) {
	for i, v := range a {
		y[i] = v * b[i]
	}
}

func scaleGeneric(y, x []float32, s float32) {
	for i, v := range x {
		y[i] = v * s
	}
}

func axpyGeneric(y, x []float32, a float32) {
	for i, v := range x {
		y[i] += a * v
	}
}

// lanes adds up terms in eight interleaved sums: faster and more exact than
// one.
func lanes(n int, term func(i int) float32) float32 {
	var s [8]float32
	for i := range n {
		s[i%8] += term(i)
	}
	return (s[0] + s[4]) + (s[1] + s[5]) + (s[2] + s[6]) + (s[3] + s[7])
}

func sumGeneric(x []float32) float32 {
	return lanes(len(x), func(i int) float32 { return x[i] })
}

func maxGeneric(x []float32) float32 {
	most := float32(math.Inf(-1))
	for _, v := range x {
		most = max(most, v)
	}
	return most
}

func dotGeneric(x, y []float32) float32 {
	var s0, s1, s2, s3 float32
	y = y[:len(x)]
	for len(x) >= 4 {
		s0 += x[0] * y[0]
		s1 += x[1] * y[1]
		s2 += x[2] * y[2]
		s3 += x[3] * y[3]
		x, y = x[4:], y[4:]
	}
	for i, v := range x {
		s0 += v * y[i]
	}
	return (s0 + s1) + (s2 + s3)
}

func sumSquaresGeneric(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return s
}

func squaredDeviationGeneric(x []float32, mean float32) float32 {
	return lanes(len(x), func(i int) float32 { return (x[i] - mean) * (x[i] - mean) })
}

func powerSumGeneric(x []float32, shift float32) (sum, most float32) {
	var s [4]float32
	for i, v := range x {
		s[i%4] += powerGeneric(log2e*v - shift)
	}
	return (s[0] + s[1]) + (s[2] + s[3]), maxGeneric(x)
}

func powerScaleGeneric(y, x []float32, shift, s float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] = s * powerGeneric(log2e*v-shift)
	}
}

func normGeneric(y, x, gamma, beta []float32, mean, rstd float32) {
	for i, v := range x {
		y[i] = (v-mean)*rstd*gamma[i] + beta[i]
	}
}

func normScaleGeneric(y, x, gamma []float32, mean, rstd float32) {
	for i, v := range x {
		y[i] = (v - mean) * rstd * gamma[i]
	}
}

func normSumsGeneric(dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32) (s1, s2 float32) {
	for i, d := range dy {
		xhat := (x[i] - mean) * rstd
		dgamma[i] += d * xhat
		dbeta[i] += d
	}
	s1 = lanes(len(dy), func(i int) float32 { return dy[i] * gamma[i] })
	s2 = lanes(len(dy), func(i int) float32 { return dy[i] * gamma[i] * (x[i] - mean) * rstd })
	return s1, s2
}

func normGradGeneric(dx, dy, x, gamma []float32, mean, rstd, m1, m2 float32) {
	for i, d := range dy {
		dx[i] = rstd * (d*gamma[i] - m1 - (x[i]-mean)*rstd*m2)
	}
}

func columnSumGeneric(y, x []float32, ld, rows int) {
	for r := range rows {
		addGeneric(y, y, x[r*ld:][:len(y)])
	}
}

// starts are zeros, which the compiler must not know: it makes one chain of
// equal ones.
var starts [12]float32

// mulAddsGeneric names its twelve chains so that they stay in registers.
func mulAddsGeneric(n int, x, y float32) float32 {
	a, b, c, d, e, f := starts[0], starts[1], starts[2], starts[3], starts[4], starts[5]
	g, h, i, j, k, l := starts[6], starts[7], starts[8], starts[9], starts[10], starts[11]
	for range n {
		a, b, c, d = a*x+y, b*x+y, c*x+y, d*x+y
		e, f, g, h = e*x+y, f*x+y, g*x+y, h*x+y
		i, j, k, l = i*x+y, j*x+y, k*x+y, l*x+y
	}
	return a + b + c + d + e + f + g + h + i + j + k + l
}

func triadGeneric(y, a, b []float32, s float32) {
	for i := range y {
		y[i] = a[i] + s*b[i]
	}
}
