package kernel

func columnMaxGeneric(m, s []float32, ld, rows int) {
	for r := range rows {
		for j, v := range s[r*ld:][:len(m)] {
			m[j] = max(m[j], v)
		}
	}
}

func columnPowerGeneric(l, s, m []float32, ld, rows int, scale float32) {
	m = m[:len(l)]
	for r := range rows {
		row := s[r*ld:][:len(l)]
		for j, v := range row {
			p := powerGeneric(scale*v - m[j])
			row[j] = p
			l[j] += p
		}
	}
}

func columnGradGeneric(s, d, lse, delta []float32, ld, rows int, factor, scale float32) {
	delta = delta[:len(lse)]
	for r := range rows {
		p, d := s[r*ld:][:len(lse)], d[r*ld:][:len(lse)]
		for j, v := range p {
			e := powerGeneric(factor*v - lse[j])
			p[j] = e
			d[j] = scale * e * (d[j] - delta[j])
		}
	}
}

func columnHideGeneric(s []float32, ld, rows, hidden int) {
	for r := range rows {
		copy(s[r*ld:][:hidden+r], minusInf[:])
	}
}

func rowScaleGeneric(y []float32, ldy int, x []float32, ldx, cols int, factors []float32) {
	for r, f := range factors {
		scaleGeneric(y[r*ldy:][:cols], x[r*ldx:][:cols], f)
	}
}

func pairDotsGeneric(out, x []float32, ldx int, y []float32, ldy, cols int) {
	for r := range out {
		out[r] = dotGeneric(x[r*ldx:][:cols], y[r*ldy:][:cols])
	}
}

// productTiles makes a product of calls of a micro-kernel of mr rows and nr
// columns.
func productTiles(tile tileFunc, mr, nr int) productFunc {
	return func(rows, cols, kc int, a []float32, rs, ks int, b []float32, ldb int, c []float32, ldc int, accumulate bool) {
		for j := 0; j < cols; j += nr {
			for i := 0; i < rows; i += mr {
				tile(kc, a[i*rs:], rs, ks, b[j:], ldb, c[i*ldc+j:], ldc, min(mr, rows-i), min(nr, cols-j), accumulate, nil)
			}
		}
	}
}
