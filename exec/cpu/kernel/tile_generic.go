package kernel

const genericTile = 4

// tileGeneric is the micro-kernel in portable Go, 4 by 4.
func tileGeneric(kc int, a []float32, rs, ks int, b []float32, ldb int, c []float32, ldc, rows, cols int, accumulate bool, bias []float32) {
	var sums [genericTile * genericTile]float32
	if rows == genericTile && cols == genericTile {
		tile4x4(&sums, kc, a, rs, ks, b, ldb)
	} else {
		for k := range kc {
			bk := b[k*ldb:][:cols]
			for r := range rows {
				x := a[r*rs+k*ks]
				for j, y := range bk {
					sums[r*genericTile+j] += x * y
				}
			}
		}
	}
	for r := range rows {
		row := c[r*ldc:][:cols]
		for j := range row {
			s := sums[r*genericTile+j]
			if accumulate {
				s += row[j]
			}
			if bias != nil {
				s += bias[j]
			}
			row[j] = s
		}
	}
}

// tile4x4 is the whole tile, two rows at a time: eight sums and a row of B fit
// the registers of any machine.
func tile4x4(sums *[16]float32, kc int, a []float32, rs, ks int, b []float32, ldb int) {
	for r := 0; r < genericTile; r += 2 {
		var s0, s1, s2, s3, t0, t1, t2, t3 float32
		ia, ja, ib := r*rs, (r+1)*rs, 0
		for range kc {
			row := (*[4]float32)(b[ib:])
			x, y := a[ia], a[ja]
			b0, b1, b2, b3 := row[0], row[1], row[2], row[3]
			s0 += x * b0
			s1 += x * b1
			s2 += x * b2
			s3 += x * b3
			t0 += y * b0
			t1 += y * b1
			t2 += y * b2
			t3 += y * b3
			ia, ja, ib = ia+ks, ja+ks, ib+ldb
		}
		*(*[8]float32)(sums[r*4:]) = [8]float32{s0, s1, s2, s3, t0, t1, t2, t3}
	}
}

func dotsGeneric(out []float32, k int, a []float32, lda, rows int, b []float32, ldb int) {
	for r := range rows {
		x := a[r*lda:][:k]
		for j := range dotColumns {
			out[r*4+j] = dotGeneric(x, b[j*ldb:][:k])
		}
	}
}

func transposeGeneric(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	for r := range rows {
		for c, x := range src[r*lds:][:cols] {
			dst[c*ldd+r] = x
		}
	}
}

func copyPanelGeneric(dst, src []float32, lds int) {
	for ; len(dst) > 0; dst, src = dst[genericTile:], src[min(lds, len(src)):] {
		*(*[genericTile]float32)(dst) = *(*[genericTile]float32)(src)
	}
}
