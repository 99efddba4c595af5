package galvatron

import "math"

// line is the affine function x*Slope + Offset.
type line struct{ Slope, Offset float64 }

// at evaluates.
func (l line) at(x float64) float64 { return x*l.Slope + l.Offset }

// fitLine is the least-squares line through points.
func fitLine(x, y []float64) line {
	c := fit(x, y, 1)
	return line{c[1], c[0]}
}

// fit returns the coefficients of the least-squares polynomial of a degree, that
// of the constant first. x is scaled to 1 at most, and the normal equations are
// solved by elimination with pivots.
func fit(x, y []float64, degree int) []float64 {
	scale := 0.0
	for _, v := range x {
		scale = max(scale, math.Abs(v))
	}
	n := degree + 1
	rows := make([][]float64, n) // of the normal equations, the right side last
	for i := range rows {
		rows[i] = make([]float64, n+1)
		for k, v := range x {
			v /= scale
			for j := range n {
				rows[i][j] += math.Pow(v, float64(i+j))
			}
			rows[i][n] += math.Pow(v, float64(i)) * y[k]
		}
	}
	for i := range n {
		pivot := i
		for r := i + 1; r < n; r++ {
			if math.Abs(rows[r][i]) > math.Abs(rows[pivot][i]) {
				pivot = r
			}
		}
		rows[i], rows[pivot] = rows[pivot], rows[i]
		for r := range n {
			if r == i {
				continue
			}
			f := rows[r][i] / rows[i][i]
			for j := i; j <= n; j++ {
				rows[r][j] -= f * rows[i][j]
			}
		}
	}
	c := make([]float64, n)
	for i := range c {
		c[i] = rows[i][n] / rows[i][i] / math.Pow(scale, float64(i))
	}
	return c
}
