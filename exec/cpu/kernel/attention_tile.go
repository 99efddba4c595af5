package kernel

// The products of an attention tile. A block [keys, tileQ] holds scores, or
// probabilities and their gradients, of keys from k0 on and n queries from q0
// on. What lies above the causal diagonal is left out, in steps of the
// micro-kernel's rows.

// keyScores sets s to the products of keys k with the columns of queries qt.
// Hidden scores may be left as they are.
func (a *AttentionArgs) keyScores(in *inner, s, k, qt []float32, q0, k0, keys, width int) {
	for j := 0; j < keys; j += in.mr {
		first := min(width, a.hidden(q0, k0+j)) &^ 15
		if first < width {
			in.multiply(min(in.mr, keys-j), width-first, a.Dim, k[j*a.K.Token:], a.K.Token, 1, qt[first:], tileQ, s[j*tileQ+first:], tileQ, false)
		}
	}
}

// perQuery sets y, or from the second tile of keys on adds to it, the sums over
// keys of the block times x [keys, D]: a row per query.
func (a *AttentionArgs) perQuery(in *inner, y []float32, ldy int, block, x []float32, ldx, q0, n, k0, keys int) {
	for i := 0; i < n; i += in.mr {
		rows := min(in.mr, n-i)
		seen := min(keys, a.visible(q0+i+rows)-k0)
		if seen > 0 {
			in.multiply(rows, a.Dim, seen, block[i:], 1, tileQ, x, ldx, y[i*ldy:], ldy, k0 > 0)
			continue
		}
		for r := 0; k0 == 0 && r < rows; r++ {
			clear(y[(i+r)*ldy:][:a.Dim])
		}
	}
}

// perKey adds to y [keys, D] the sums over queries of the block times x [n, D]:
// a row per key.
func (a *AttentionArgs) perKey(in *inner, y, block, x []float32, ldx, q0, n, k0, keys int) {
	for j := 0; j < keys; j += in.mr {
		if first := a.hidden(q0, k0+j); first < n {
			in.multiply(min(in.mr, keys-j), a.Dim, n-first, block[j*tileQ+first:], tileQ, 1, x[first*ldx:], ldx, y[j*a.Dim:], a.Dim, true)
		}
	}
}
