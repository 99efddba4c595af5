package kernel

const (
	panelA     = 8             // width of a packed panel of A, mr <= panelA
	minClaims  = 6             // claims a worker should find, at least
	stripMost  = 144 << 10     // elements of B in a strip at most: they stay in the L2 cache
	stripShort = stripMost / 2 // the same if A's block is short enough to be read often
	shortRows  = 1024          // rows of such a block
	partRows   = 64            // rows of A a claim has at least
)

// blockTask computes C from a block of depth columns of op(A) and as many rows
// of op(B). A claim is a strip of columns by a part of the rows.
type blockTask struct {
	g        GemmArgs
	in       *inner
	format   format
	tile     tileFunc
	workers  [][]float32
	m0, rows int // the block of A
	k0, kc   int
	lanes    int // that kc takes
	// Lane (r, k) of the panel of A that starts at row i lies at
	// a[i*row+r*rs+k*ks].
	a            []float32
	row, rs, ks  int
	width, parts int // panels of B in a claim, parts of the rows
}

func gemmBlocked(p *Pool, g *GemmArgs) {
	t, in := &p.tasks.block, active.Load()
	f := in.format(g.BF16)
	kc := f.depthBlock(g.K)
	mc := g.M
	if g.TransA || f != plain && !g.pairsInPlace(f) {
		mc = packedA / (f.lanes(kc) * panelA) * in.mr
	}
	*t = blockTask{g: *g, in: in, format: f, tile: in.tile, workers: p.scratch.workers}
	if f == paired {
		t.tile = in.pairs.tile
	}
	for t.m0 = 0; t.m0 < g.M; t.m0 += mc {
		t.rows = min(mc, g.M-t.m0)
		for t.k0 = 0; t.k0 < g.K; t.k0 += kc {
			t.kc = min(kc, g.K-t.k0)
			t.lanes = f.lanes(t.kc)
			t.placeA(p)
			p.run(t.divide(p.Threads()), 1, t)
		}
	}
	*t = blockTask{}
}

// pairsInPlace reports whether the rows of A are pairs already.
func (g *GemmArgs) pairsInPlace(f format) bool {
	return f == paired && g.A16 != nil && !g.TransA && g.LDA%2 == 0 && g.K%2 == 0
}

// placeA says where the block of A lies, and copies it if it is transposed or
// must be rounded.
func (t *blockTask) placeA(p *Pool) {
	g := &t.g
	switch {
	case g.TransA: // panels are panelA wide but mr rows apart
		t.a, t.row, t.rs, t.ks = p.scratch.a, 0, 1, panelA
		pack := &p.tasks.pack
		*pack = packTask{
			in: t.in, format: t.format, dst: t.a, lds: g.LDA,
			rows: t.kc, cols: t.rows, workers: t.workers,
		}
		if from := t.k0*g.LDA + t.m0; g.A16 != nil {
			pack.src16 = g.A16[from:]
		} else {
			pack.src = g.A[from:]
		}
		p.run(ceil(t.kc, packDepth), 1, pack)
		*pack = packTask{}
	case g.pairsInPlace(t.format):
		t.a, t.row, t.rs, t.ks = lanesOf(g.A16[t.m0*g.LDA+t.k0:]), g.LDA/2, g.LDA/2, 1
	case t.format != plain:
		t.a, t.row, t.rs, t.ks = p.scratch.a, t.lanes, t.lanes, 1
		round := &p.tasks.round
		*round = roundTask{in: t.in, format: t.format, dst: t.a, lds: g.LDA, cols: t.kc}
		if from := t.m0*g.LDA + t.k0; g.A16 != nil {
			round.src16 = g.A16[from:]
		} else {
			round.src = g.A[from:]
		}
		p.run(t.rows, max(1, chunk/t.kc), round)
		*round = roundTask{}
	default:
		t.a, t.row, t.rs, t.ks = g.A[t.m0*g.LDA+t.k0:], g.LDA, g.LDA, 1
	}
}

// divide chooses the claims' size and returns their number. It changes who
// computes what, never the bits.
func (t *blockTask) divide(threads int) int {
	panels := ceil(t.g.N, t.in.nr)
	strip := stripMost
	if t.rows <= shortRows || t.format == paired { // its pairs, and the next one's float32
		strip = stripShort
	}
	t.width, t.parts = min(max(1, strip/(t.lanes*t.in.nr)), panels), 1
	for threads > 1 && ceil(panels, t.width)*t.parts < minClaims*threads {
		switch {
		case t.width > 1 && t.rows/t.parts < 4*t.width*t.in.nr:
			t.width--
		case t.rows/(t.parts+1) >= partRows:
			t.parts++
		case t.width > 1:
			t.width--
		default:
			return ceil(panels, t.width) * t.parts
		}
	}
	return ceil(panels, t.width) * t.parts
}

func (t *blockTask) run(worker, lo, hi int) {
	mr := t.in.mr
	panels := ceil(t.rows, mr)
	for i := lo; i < hi; i++ {
		strip, part := i/t.parts, i%t.parts
		from, to := panels*part/t.parts*mr, min(panels*(part+1)/t.parts*mr, t.rows)
		next := (i + len(t.workers)) / t.parts // that this worker claims, if all are as fast
		if next == strip {
			next = t.g.N // no other
		}
		t.compute(t.workers[worker], strip*t.width*t.in.nr, next*t.width*t.in.nr, from, to)
	}
}

// compute does rows from up to to of the strip of C that starts at column col.
// Meanwhile it asks for the strip of B that starts at column next.
func (t *blockTask) compute(worker []float32, col, next, from, to int) {
	g, mr, nr := &t.g, t.in.mr, t.in.nr
	cols := min(t.width*nr, g.N-col)
	b := t.strip(worker, col, cols)
	accumulate, last := g.Accumulate || t.k0 > 0, t.k0+t.kc == g.K
	ahead := min(t.width*nr, g.N-next)
	for i := from; i < to; i += mr {
		if g.Packed == nil {
			t.in.prefetchB(g, t.k0, t.kc, next, ahead, (i-from)/mr, ceil(to-from, mr))
		}
		a, rows := t.panel(i), min(mr, to-i)
		if last {
			g.prefetch(t.in, g.LDC, t.m0+i, col, rows, cols)
		}
		for j := 0; j < cols; j += nr {
			var bias []float32
			if last && g.Bias != nil {
				bias = g.Bias[col+j:]
			}
			t.tile(t.lanes, a, t.rs, t.ks, b[j*t.lanes:], nr, g.C[(t.m0+i)*g.LDC+col+j:], g.LDC, rows, min(nr, cols-j), accumulate, bias)
		}
		if last {
			g.finish(t.in, lastBlock(worker), g.C, g.LDC, t.m0+i, col, rows, cols)
		}
	}
}

// panel is the block of A from row i on.
func (t *blockTask) panel(i int) []float32 {
	if t.row == 0 {
		return t.a[i/t.in.mr*t.lanes*panelA:]
	}
	return t.a[i*t.row:]
}

// strip gives cols columns of B from col on as panels [lanes, nr].
func (t *blockTask) strip(buffer []float32, col, cols int) []float32 {
	g, nr := &t.g, t.in.nr
	if g.Packed != nil {
		return g.Packed[t.format.lanes(t.k0)*ceil(g.N, nr)*nr+col*t.lanes:]
	}
	for j := 0; j < cols; j += nr {
		t.in.packB(buffer[j*t.lanes:], g, t.format, t.k0, t.kc, col+j, min(nr, cols-j))
	}
	return buffer
}
