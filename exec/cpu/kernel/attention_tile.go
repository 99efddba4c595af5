package kernel

import "math"

// A block [keys, tileQ] holds scores, or probabilities and their gradients, of
// keys from k0 on and n queries from q0 on; its columns are rounded up to
// whole vectors, width. On the causal diagonal a group of rows is computed from
// a whole vector on (first), and what it holds left of that is undefined, but
// for edge elements next to it, which are zero: as many as a product's rows
// may reach.
const (
	tileQ    = 64  // queries of a tile: columns of a block of scores
	tileK    = 256 // keys of a block at most: its rows
	hideStep = 16  // columns of the diagonal done at once: the widest vector
	edge     = 8
)

// blockKeys is how many keys a block has: fewer of large heads.
func blockKeys(dim int) int { return min(tileK, max(64, tileK*64/dim)&^15) }

// visible is how many keys the queries before end may see at most.
func (a *AttentionArgs) visible(end int) int {
	if !a.Causal {
		return a.Keys
	}
	return max(0, min(a.Keys, end+a.Keys-a.Queries+a.Offset))
}

// beyond is how many of the queries from q0 on, in a row, cannot see key k; it
// is negative where queries before q0 could.
func (a *AttentionArgs) beyond(q0, k int) int {
	if !a.Causal {
		return -a.Keys
	}
	return k - q0 - (a.Keys - a.Queries + a.Offset)
}

// hidden is beyond as a count.
func (a *AttentionArgs) hidden(q0, k int) int { return max(0, a.beyond(q0, k)) }

// group gives the first vector of columns of the row of key k0+j, and the end
// of the rows that have the same.
func (a *AttentionArgs) group(q0, k0, j, keys int) (first, end int) {
	if !a.Causal {
		return 0, keys
	}
	beyond := a.beyond(q0, k0+j)
	first = max(0, beyond) &^ (hideStep - 1)
	return first, min(keys, j+first+hideStep-beyond)
}

// scores sets s to the products of keys k with the columns of queries qt, those
// of hidden pairs to minus infinity.
func (a *AttentionArgs) scores(in *inner, s, k []float32, ldk int, qt []float32, b, q0, k0, keys, width int) {
	for j := 0; j < keys; {
		first, end := a.group(q0, k0, j, keys)
		if first >= width {
			return
		}
		in.product(end-j, width-first, a.Dim, k[j*ldk:], ldk, 1, qt[first:], tileQ, s[j*tileQ+first:], tileQ, false)
		a.hide(in, s, q0, k0, j, end, first)
		for ; j < end; j++ {
			if a.Mask != nil && a.Mask[b*a.maskBatch()+k0+j] == 0 {
				copy(s[j*tileQ+first:j*tileQ+width], minusInf[:])
			}
		}
	}
}

// hide hides pairs above the diagonal in the rows from j up to end.
func (a *AttentionArgs) hide(in *inner, s []float32, q0, k0, j, end, first int) {
	if first > 0 {
		clearEdge(s, j, end, first)
	}
	beyond := a.beyond(q0, k0+j)
	if beyond < first { // rows that the first query sees
		j, beyond = j+first-beyond, first
	}
	if j < end {
		in.columnHide(s[j*tileQ+first:], tileQ, end-j, beyond-first)
	}
}

// clearEdge zeroes what lies left of the columns computed.
func clearEdge(s []float32, j, end, first int) {
	for r := j; r < min(end, j+edge); r++ {
		clear(s[r*tileQ+first-edge:][:edge])
	}
}

// perQuery sets y, or adds to it, the sums over keys of the block times x
// [keys, D]: a row per query.
func (a *AttentionArgs) perQuery(in *inner, y []float32, ldy int, block, x []float32, ldx, q0, n, k0, keys int, accumulate bool) {
	rows := in.productRows(a.Dim)
	for i := 0; i < n; {
		end := min(n, i+rows)
		seen := min(keys, a.visible(q0+end)-k0)
		if seen == min(keys, a.visible(q0+n)-k0) { // so do all that follow
			end = n
		}
		if seen > 0 {
			in.product(end-i, a.Dim, seen, block[i:], 1, tileQ, x, ldx, y[i*ldy:], ldy, accumulate)
		} else if !accumulate {
			for r := i; r < end; r++ {
				clear(y[r*ldy:][:a.Dim])
			}
		}
		i = end
	}
}

// perKey adds to y [keys, D] the sums over queries of the block times x [n, D]:
// a row per key.
func (a *AttentionArgs) perKey(in *inner, y, block, x []float32, ldx, q0, n, k0, keys int) {
	rows := in.productRows(a.Dim)
	for j := 0; j < keys; {
		end := min(keys, j+rows)
		if whole := min(keys, max(0, 1-a.beyond(q0, k0))); whole > j { // rows that all queries see
			end = whole
		}
		first := a.hidden(q0, k0+j)
		if first >= n {
			return
		}
		in.product(end-j, a.Dim, n-first, block[j*tileQ+first:], tileQ, 1, x[first*ldx:], ldx, y[j*a.Dim:], a.Dim, true)
		j = end
	}
}

// productRows is how many rows of C, with that many columns, product computes
// at once: what it reads of A has to be there for all of them.
func (in *inner) productRows(cols int) int {
	if in.isa != AVX512 {
		return in.mr
	}
	if vectors := ceil(cols, 16); ceil(vectors, ceil(vectors, 4)) == 4 {
		return 6
	}
	return edge
}

// columns transposes the D-element rows of n tokens into the columns of dst
// [D, tileQ]; what is left of width columns is zero.
func (a *AttentionArgs) columns(in *inner, dst, src []float32, token, n, width int) {
	if n < width {
		clear(dst[:a.Dim*tileQ])
	}
	in.transpose(dst, tileQ, src, token, n, a.Dim)
}

// ones are factors of rows that are copied.
var ones = func() (x [tileK]float32) {
	fill(x[:], 1)
	return x
}()

var minusInf = func() (x [tileQ]float32) {
	fill(x[:], float32(math.Inf(-1)))
	return x
}()

// scoreFactor is what multiplies products of queries and keys before they are
// exponents of two. Where that would turn the order of scores around, the
// queries qt are multiplied already.
func (a *AttentionArgs) scoreFactor(in *inner, qt []float32) float32 {
	factor := a.Scale * log2e
	if factor > 0 {
		return factor
	}
	in.scale(qt, qt, factor)
	return 1
}
