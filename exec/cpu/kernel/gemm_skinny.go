package kernel

// skinnyTask is a product of few rows: packing B would take longer than it
// saves. A plain B is walked down its rows in strips of columns, a transposed
// one along its rows by dot products.
type skinnyTask struct {
	g            GemmArgs
	in           *inner
	a            []float32 // op(A) from column k0
	rs, ks       int       // its strides
	k0, kc       int
	width, depth int // columns a claim covers, rows of B a walk
	accumulate   bool
	last         bool
	workers      [][]float32
}

const (
	// skinnyDepth is the most columns of a transposed A copied into rows.
	skinnyDepth = packedA / skinnyM
	// A product of up to thinM rows is bound by memory: it walks stripDepth
	// rows of a plain B at a time, as many streams as the processor
	// prefetches, over stripTiles tiles of columns.
	thinM, stripDepth, stripTiles = 2, 16, 16
	// skinnyWork is how many elements of B a worker claims, about.
	skinnyWork = 1 << 16
	// dotColumns is the number of rows of B a dots call takes.
	dotColumns = 4
)

func gemmSkinny(p *Pool, g *GemmArgs) {
	t := &p.tasks.skinny
	*t = skinnyTask{g: *g, in: active.Load(), workers: p.scratch.workers}
	block := g.K
	switch {
	case g.TransB:
		t.width = dotColumns
	case g.M <= thinM:
		tiles := ceil(ceil(g.N, t.in.nr), 2*p.Threads()) // for all to have work
		t.width, t.depth = min(tiles, stripTiles)*t.in.nr, stripDepth
	default:
		t.width, t.depth = t.in.nr, maxKC
	}
	copied := g.TransA && g.TransB // dot products want the rows of A whole
	if copied {
		block = skinnyDepth
	}
	for k0 := 0; k0 < g.K; k0 += block {
		t.k0, t.kc = k0, min(block, g.K-k0)
		t.accumulate, t.last = g.Accumulate || k0 > 0, k0+t.kc == g.K
		switch {
		case copied:
			t.a, t.rs, t.ks = p.scratch.a, t.kc, 1
			t.in.transpose(t.a, t.kc, g.A[k0*g.LDA:], g.LDA, t.kc, g.M)
		case g.TransA:
			t.a, t.rs, t.ks = g.A, 1, g.LDA
		default:
			t.a, t.rs, t.ks = g.A, g.LDA, 1
		}
		p.run(ceil(g.N, t.width), max(1, skinnyWork/(t.kc*t.width)), t)
	}
	*t = skinnyTask{}
}

func (t *skinnyTask) run(worker, lo, hi int) {
	for i := lo; i < hi; i++ {
		col := i * t.width
		if t.g.TransB {
			t.dot(t.workers[worker], col)
		} else {
			t.strip(col)
		}
		if t.last {
			t.g.finish(t.in, lastBlock(t.workers[worker]), t.g.C, t.g.LDC, 0, col, t.g.M, min(t.width, t.g.N-col))
		}
	}
}

func (t *skinnyTask) bias(col int) []float32 {
	if !t.last || t.g.Bias == nil {
		return nil
	}
	return t.g.Bias[col:]
}

// strip computes the columns of C from col on.
func (t *skinnyTask) strip(col int) {
	end := min(col+t.width, t.g.N)
	for k := 0; k < t.kc; k += t.depth {
		ahead := min(t.depth, t.kc-k-t.depth)
		for j := col; j < end; j += t.in.nr {
			if t.in.prefetch != nil && ahead > 0 {
				t.in.prefetch(t.g.B[(k+t.depth)*t.g.LDB+j:], t.g.LDB, ahead, min(t.in.nr, end-j))
			}
			t.tile(k, min(t.depth, t.kc-k), j, min(t.in.nr, end-j))
		}
	}
}

// tile adds kc rows of B, from row k on, to cols columns of C.
func (t *skinnyTask) tile(k, kc, col, cols int) {
	g := &t.g
	var bias []float32
	if k+kc == t.kc {
		bias = t.bias(col)
	}
	for i := 0; i < g.M; i += t.in.mr {
		t.in.tile(kc, t.a[i*t.rs+k*t.ks:], t.rs, t.ks, g.B[k*g.LDB+col:], g.LDB, g.C[i*g.LDC+col:], g.LDC,
			min(t.in.mr, g.M-i), cols, t.accumulate || k > 0, bias)
	}
}

// dot computes up to dotColumns columns of C from col on.
func (t *skinnyTask) dot(out []float32, col int) {
	g := &t.g
	b := g.B[col*g.LDB+t.k0:]
	n := min(dotColumns, g.N-col)
	for i := 0; i < g.M; i += 4 {
		rows := min(4, g.M-i)
		t.in.rowDots(out, t.kc, t.a[i*t.rs:], t.rs, rows, b, g.LDB, n)
		for r := range rows {
			t.store(g.C[(i+r)*g.LDC+col:][:n], out[r*4:][:n], t.bias(col))
		}
	}
}

func (t *skinnyTask) store(c, sums, bias []float32) {
	for j, s := range sums {
		if t.accumulate {
			s += c[j]
		}
		if bias != nil {
			s += bias[j]
		}
		c[j] = s
	}
}

// rowDots is dots for any number up to 4 of rows of B.
func (in *inner) rowDots(out []float32, k int, a []float32, lda, rows int, b []float32, ldb, n int) {
	if n == 4 {
		in.dots(out, k, a, lda, rows, b, ldb)
		return
	}
	for r := range rows {
		for j := range n {
			out[r*4+j] = in.dot(a[r*lda:][:k], b[j*ldb:][:k])
		}
	}
}
