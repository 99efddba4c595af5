package kernel

// packDepth is how many rows of a transposed A are packed together: as many
// streams as the processor prefetches.
const packDepth = 8

// packTask copies src [rows, cols] into panels [rows, panelA] of mr columns
// each, packDepth rows a claim; pairs take half of the rows. What a panel has
// beyond the matrix is never read.
type packTask struct {
	in         *inner
	format     format
	dst, src   []float32
	src16      []uint16 // bf16, in place of src
	lds        int
	rows, cols int
	workers    [][]float32
}

func (t *packTask) run(worker, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.pack(t.workers[worker], i*packDepth, min(packDepth, t.rows-i*packDepth))
	}
}

// widened is how many columns of bf16 are packed together where they are
// widened first: a number of whole panels of any width.
const widened = 1920

// pack copies n rows from row k on.
func (t *packTask) pack(worker []float32, k, n int) {
	switch {
	case t.format == paired && t.src16 != nil:
		t.packWords(k, n)
	case t.format == paired:
		t.packPairs(k, n)
	case t.src16 != nil:
		for j := 0; j < t.cols; j += widened {
			cols := min(widened, t.cols-j)
			for r := range n {
				t.in.fromBF16(worker[r*widened:][:cols], t.src16[(k+r)*t.lds+j:][:cols])
			}
			t.packFloats(worker, widened, k, n, j, cols)
		}
	default:
		t.packFloats(t.src[k*t.lds:], t.lds, k, n, 0, t.cols)
		if t.format == rounded {
			for j := 0; j < t.cols; j += t.in.mr {
				panel := t.dst[(j/t.in.mr*t.rows+k)*panelA:][:n*panelA]
				t.in.roundBF16(panel, panel)
			}
		}
	}
}

// packFloats copies src, n rows from row k and columns from col on.
func (t *packTask) packFloats(src []float32, lds, k, n, col, cols int) {
	whole, step := 0, t.in.mr
	dst := t.dst[(col/step*t.rows+k)*panelA:]
	if t.in.splitRows != nil {
		whole = cols / panelA
		t.in.splitRows(dst, t.rows*panelA, src, lds, n, whole)
	}
	for j := whole * panelA; j < cols; j += step {
		panel := dst[j/step*t.rows*panelA:][:n*panelA]
		for r := range n {
			copy(panel[r*panelA:], src[r*lds+j:][:min(step, cols-j)])
		}
	}
}

// packPairs is pack for pairs of rows.
func (t *packTask) packPairs(k, n int) {
	lanes, whole := ceil(t.rows, 2), 0
	if n%2 == 0 {
		whole = t.cols / panelA &^ 1
		t.in.pairs.split(t.dst[k/2*panelA:], lanes*panelA, t.src[k*t.lds:], t.lds, n, whole)
	}
	for j := whole * panelA; j < t.cols; j += panelA {
		t.in.pairs.columns(t.dst[(j/panelA*lanes+k/2)*panelA:], panelA, t.src[k*t.lds+j:], t.lds, n, min(panelA, t.cols-j))
	}
}

// packWords is packPairs for bf16.
func (t *packTask) packWords(k, n int) {
	lanes, whole := ceil(t.rows, 2), 0
	if n%2 == 0 {
		whole = t.cols / panelA &^ 1
		t.in.pairs.splitBF16(t.dst[k/2*panelA:], lanes*panelA, t.src16[k*t.lds:], t.lds, n, whole)
	}
	for j := whole * panelA; j < t.cols; j += panelA {
		t.in.pairs.columnsBF16(t.dst[(j/panelA*lanes+k/2)*panelA:], panelA, t.src16[k*t.lds+j:], t.lds, n, min(panelA, t.cols-j))
	}
}

// roundTask copies rows of src, rounded, one after the other.
type roundTask struct {
	in       *inner
	format   format
	dst, src []float32
	src16    []uint16 // bf16, in place of src
	lds      int
	cols     int
}

func (t *roundTask) run(_, lo, hi int) {
	lanes := t.format.lanes(t.cols)
	for i := lo; i < hi; i++ {
		dst := t.dst[i*lanes:][:lanes]
		switch {
		case t.src16 != nil && t.format == paired: // an odd number of them
			words := wordsOf(dst)
			clear(words[copy(words, t.src16[i*t.lds:][:t.cols]):])
		case t.src16 != nil:
			t.in.fromBF16(dst, t.src16[i*t.lds:][:t.cols])
		case t.format == paired:
			t.in.pairs.row(dst, t.src[i*t.lds:][:t.cols])
		default:
			t.in.roundBF16(dst, t.src[i*t.lds:][:t.cols])
		}
	}
}

// prefetchB asks for part of parts of what packB will read.
func (in *inner) prefetchB(g *GemmArgs, k0, kc, col, cols, part, parts int) {
	switch {
	case in.prefetch == nil || cols <= 0:
	case g.TransB:
		from, to := cols*part/parts, cols*(part+1)/parts
		in.prefetch(g.B[(col+from)*g.LDB+k0:], g.LDB, to-from, kc)
	case g.B16 != nil && g.LDB%2 == 0:
		from, to := kc*part/parts, kc*(part+1)/parts
		in.prefetch(lanesOf(g.B16[(k0+from)*g.LDB+col:]), g.LDB/2, to-from, cols/2)
	case g.B16 != nil:
	default:
		from, to := kc*part/parts, kc*(part+1)/parts
		in.prefetch(g.B[(k0+from)*g.LDB+col:], g.LDB, to-from, cols)
	}
}

// packB copies op(B)'s rows from k0 and columns from col on into a panel
// [kc, nr], or [pairs of kc, nr].
func (in *inner) packB(dst []float32, g *GemmArgs, f format, k0, kc, col, cols int) {
	nr := in.nr
	switch {
	case g.B16 != nil && f == paired:
		in.pairs.columnsBF16(dst, nr, g.B16[k0*g.LDB+col:], g.LDB, kc, cols)
		return
	case g.B16 != nil:
		for k := range kc {
			in.fromBF16(dst[k*nr:][:cols], g.B16[(k0+k)*g.LDB+col:][:cols])
		}
		return
	case f == paired && g.TransB:
		in.pairs.transpose(dst, nr, g.B[col*g.LDB+k0:], g.LDB, cols, kc)
	case f == paired:
		in.pairs.columns(dst, nr, g.B[k0*g.LDB+col:], g.LDB, kc, cols)
	case g.TransB:
		in.transpose(dst, nr, g.B[col*g.LDB+k0:], g.LDB, cols, kc)
	case cols == nr:
		in.copyPanel(dst[:kc*nr], g.B[k0*g.LDB+col:], g.LDB)
	default:
		for k := range kc {
			copy(dst[k*nr:], g.B[(k0+k)*g.LDB+col:][:cols])
		}
	}
	if f == rounded {
		in.roundBF16(dst[:kc*nr], dst[:kc*nr])
	}
}

// PackedFloats is how many elements [PackB] needs for op(B) [k, n] with the
// instruction set in use.
func PackedFloats(n, k int) int {
	nr := active.Load().nr
	return max(k, 0) * ceil(max(n, 0), nr) * nr
}

// packBTask packs all of B, a panel a claim.
type packBTask struct {
	g   GemmArgs
	in  *inner
	dst []float32
}

// PackB packs B of g into dst of [PackedFloats] elements. Products that give
// it as Packed save packing it again; it holds for the instruction set in use.
func PackB(p *Pool, dst []float32, g GemmArgs) {
	t := &p.tasks.packB
	*t = packBTask{g, active.Load(), dst}
	p.run(ceil(g.N, t.in.nr), 1, t)
	*t = packBTask{}
}

func (t *packBTask) run(_, lo, hi int) {
	g, nr, f := &t.g, t.in.nr, t.in.format(t.g.BF16)
	kc := f.depthBlock(g.K)
	panels := ceil(g.N, nr)
	for i := lo; i < hi; i++ {
		for k0 := 0; k0 < g.K; k0 += kc {
			depth := min(kc, g.K-k0)
			t.in.packB(t.dst[f.lanes(k0)*panels*nr+i*nr*f.lanes(depth):], g, f, k0, depth, i*nr, min(nr, g.N-i*nr))
		}
	}
}
