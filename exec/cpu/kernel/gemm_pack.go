package kernel

// packDepth is how many rows of a transposed A are packed together: as many
// streams as the processor prefetches.
const packDepth = 8

// packTask copies src [rows, cols] into panels [rows, panelA] of step columns
// each, packDepth rows a claim. What a panel has beyond the matrix is never
// read.
type packTask struct {
	dst, src   []float32
	lds        int
	rows, cols int
	step       int
	in         *inner
}

func (t *packTask) run(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.pack(i*packDepth, min(packDepth, t.rows-i*packDepth))
	}
}

// pack copies n rows from row k on.
func (t *packTask) pack(k, n int) {
	whole := 0
	if t.in.splitRows != nil {
		whole = t.cols / panelA
		t.in.splitRows(t.dst[k*panelA:], t.rows*panelA, t.src[k*t.lds:], t.lds, n, whole)
	}
	for j := whole * panelA; j < t.cols; j += t.step {
		panel := t.dst[(j/t.step*t.rows+k)*panelA:][:n*panelA]
		from := t.src[k*t.lds+j:]
		for r := range n {
			copy(panel[r*panelA:], from[r*t.lds:][:min(t.step, t.cols-j)])
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
	default:
		from, to := kc*part/parts, kc*(part+1)/parts
		in.prefetch(g.B[(k0+from)*g.LDB+col:], g.LDB, to-from, cols)
	}
}

// packB copies op(B)'s rows from k0 and columns from col on into a panel
// [kc, nr].
func (in *inner) packB(dst []float32, g *GemmArgs, k0, kc, col, cols int) {
	nr := in.nr
	switch {
	case g.TransB:
		in.transpose(dst, nr, g.B[col*g.LDB+k0:], g.LDB, cols, kc)
	case cols == nr:
		in.copyPanel(dst[:kc*nr], g.B[k0*g.LDB+col:], g.LDB)
	default:
		for k := range kc {
			copy(dst[k*nr:], g.B[(k0+k)*g.LDB+col:][:cols])
		}
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
	g, nr, kc := &t.g, t.in.nr, depthBlock(t.g.K)
	panels := ceil(g.N, nr)
	for i := lo; i < hi; i++ {
		for k0 := 0; k0 < g.K; k0 += kc {
			depth := min(kc, g.K-k0)
			t.in.packB(t.dst[k0*panels*nr+i*nr*depth:], g, k0, depth, i*nr, min(nr, g.N-i*nr))
		}
	}
}
