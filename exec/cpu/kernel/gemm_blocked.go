package kernel

import (
	"runtime"
	"sync/atomic"
)

const (
	panelA     = 8             // width of a packed panel of A, mr <= panelA
	stripMost  = 144 << 10     // elements of B in a strip at most: they stay in the L2 cache
	stripShort = stripMost / 2 // the same if A's rows are few enough to be read often
	shortRows  = 1024          // so many
	leastRows  = 256           // rows of A that a worker gets for itself, at least
	leastPairs = 128           // the same for bf16, whose A is copied
)

// blockTask computes C from a block of depth columns of op(A) and as many rows
// of op(B). A claim is a strip of columns by a part of the rows, if these are
// divided. Each worker has a queue of claims, but only the first if they are not;
// one that has emptied its own takes from the others', and then panels of rows
// of what they are at.
type blockTask struct {
	g        GemmArgs
	in       *inner
	format   format
	tile     tileFunc
	buffers  [][]float32
	m0, rows int // the block of A
	k0, kc   int
	lanes    int // that kc takes
	// Lane (r, k) of the panel of A that starts at row i lies at
	// a[i*row+r*rs+k*ks].
	a           []float32
	row, rs, ks int

	width, strips, parts int          // panels of B in a strip, strips, parts of the rows
	chunks               int          // in which a part of A is copied
	unpacked             atomic.Int64 // claims whose strip is not packed yet
	workers              []blockWorker
}

// blockWorker is a worker's queue and the claim it is at, which others may read
// while there are rows left.
type blockWorker struct {
	placed    atomic.Int64 // chunks taken of its part of A
	queue     atomic.Int64 // claims taken from it
	left      atomic.Int64 // panels of rows nobody has taken; none if it is not positive
	from, to  int          // panels of rows of the claim
	col, cols int          // of the strip
	after     int          // column of the strip that follows, N if none does
	b         []float32    // the strip, packed
	_         [64]byte
}

func gemmBlocked(p *Pool, g *GemmArgs) {
	t, in := &p.tasks.block, active.Load()
	f := in.format(g.BF16)
	kc := f.depthBlock(g.K)
	mc := g.M
	if g.TransA || f != plain && !g.pairsInPlace(f) {
		mc = packedA / (f.lanes(kc) * panelA) * in.mr
	}
	t.g, t.in, t.format, t.tile, t.buffers = *g, in, f, in.tile, p.scratch.workers
	if t.workers == nil {
		t.workers = make([]blockWorker, p.Threads())
	}
	if f == paired {
		t.tile = in.pairs.tile
	}
	for t.m0 = 0; t.m0 < g.M; t.m0 += mc {
		t.rows = min(mc, g.M-t.m0)
		for t.k0 = 0; t.k0 < g.K; t.k0 += kc {
			t.kc = min(kc, g.K-t.k0)
			t.lanes = f.lanes(t.kc)
			t.divide(p.Threads())
			t.placeA(p)
			p.run(p.Threads(), 1, t)
		}
	}
	*t = blockTask{workers: t.workers}
	clear(t.workers)
}

// pairsInPlace reports whether the rows of A are pairs already.
func (g *GemmArgs) pairsInPlace(f format) bool {
	return f == paired && g.A16 != nil && !g.TransA && g.LDA%2 == 0 && g.K%2 == 0
}

// placeA says where the block of A lies, and copies it if it is transposed or
// must be rounded: each worker its own part of the rows, if there are parts.
func (t *blockTask) placeA(p *Pool) {
	g := &t.g
	switch {
	case g.TransA: // panels are panelA wide but mr rows apart
		t.a, t.row, t.rs, t.ks = p.scratch.a, 0, 1, panelA
		t.chunks = ceil(t.kc, packDepth)
	case g.pairsInPlace(t.format):
		t.a, t.row, t.rs, t.ks = lanesOf(g.A16[t.m0*g.LDA+t.k0:]), g.LDA/2, g.LDA/2, 1
		return
	case t.format != plain:
		t.a, t.row, t.rs, t.ks = p.scratch.a, t.lanes, t.lanes, 1
		t.chunks = ceil(ceil(ceil(t.rows, t.in.mr), t.parts)*t.in.mr*t.kc, chunk)
	default:
		t.a, t.row, t.rs, t.ks = g.A[t.m0*g.LDA+t.k0:], g.LDA, g.LDA, 1
		return
	}
	p.tasks.place.t = t
	p.run(p.Threads(), 1, &p.tasks.place)
}

// placeTask copies the block of A in chunks, of which each worker has a queue.
type placeTask struct{ t *blockTask }

func (t *placeTask) run(worker, _, _ int) {
	b := t.t
	for i := range b.workers {
		part := (worker + i) % len(b.workers)
		for part < b.parts {
			chunk := int(b.workers[part].placed.Add(1)) - 1
			if chunk >= b.chunks {
				break
			}
			b.place(worker, part, chunk)
		}
	}
}

// place copies a chunk of a part: some depth of a transposed A, else some rows.
func (t *blockTask) place(worker, part, chunk int) {
	g := &t.g
	from, to := t.partRows(part)
	if g.TransA {
		pack := packTask{
			in: t.in, format: t.format, dst: t.a[from/t.in.mr*t.lanes*panelA:], lds: g.LDA,
			rows: t.kc, cols: to - from, workers: t.buffers,
		}
		if first := t.k0*g.LDA + t.m0 + from; g.A16 != nil {
			pack.src16 = g.A16[first:]
		} else {
			pack.src = g.A[first:]
		}
		pack.run(worker, chunk, chunk+1)
		return
	}
	rows := to - from
	from, to = from+rows*chunk/t.chunks, from+rows*(chunk+1)/t.chunks
	round := roundTask{in: t.in, format: t.format, dst: t.a, lds: g.LDA, cols: t.kc}
	if first := t.m0*g.LDA + t.k0; g.A16 != nil {
		round.src16 = g.A16[first:]
	} else {
		round.src = g.A[first:]
	}
	round.run(0, from, to)
}

// partRows are the rows of a part, from and up to.
func (t *blockTask) partRows(part int) (from, to int) {
	panels := ceil(t.rows, t.in.mr)
	return panels * part / t.parts * t.in.mr, min(panels*(part+1)/t.parts*t.in.mr, t.rows)
}

// divide chooses the claims. It changes who computes what, never the bits.
//
// Each worker gets a part of the rows where these are many: it then copies the
// rows of A that it reads, and writes rows of C that it wrote before, which is
// what counts when its caches are far from the others'. But all of B is packed
// for each part, so that few rows stay together, and workers share the strips.
func (t *blockTask) divide(threads int) {
	least := leastRows
	if t.format == paired {
		least = leastPairs
	}
	t.parts = 1
	if t.rows >= least*threads {
		t.parts = threads
	}
	strip := stripMost
	if t.rows/t.parts <= shortRows || t.format == paired { // its pairs, and the next one's float32
		strip = stripShort
	}
	panels := ceil(t.g.N, t.in.nr)
	t.strips = ceil(panels, max(1, strip/(t.lanes*t.in.nr)))
	if t.parts == 1 { // as many for each
		t.strips = ceil(t.strips, threads) * threads
	}
	t.width = ceil(panels, t.strips)
	t.strips = ceil(panels, t.width)
	t.unpacked.Store(int64(t.strips * t.parts))
	for i := range t.workers {
		w := &t.workers[i]
		w.queue.Store(0)
		w.placed.Store(0)
		w.left.Store(0)
	}
}
func (t *blockTask) run(worker, _, _ int) {
	me := &t.workers[worker]
	for i := range t.workers {
		for owner := (worker + i) % len(t.workers); t.take(me, owner); {
			me.b = t.strip(t.buffers[worker], me.col, me.cols)
			me.left.Store(int64(me.to - me.from))
			t.unpacked.Add(-1)
			t.work(worker, me)
		}
	}
	t.help(worker)
}

// take gives a worker the next claim of a queue; false if there is none. The
// queue of a worker has its part of the rows, strip by strip.
func (t *blockTask) take(w *blockWorker, owner int) bool {
	if owner >= t.parts {
		return false
	}
	strip := int(t.workers[owner].queue.Add(1)) - 1
	if strip >= t.strips {
		return false
	}
	from, to := t.partRows(owner)
	w.from, w.to = from/t.in.mr, ceil(to, t.in.mr)
	columns := t.width * t.in.nr
	w.col = strip * columns
	w.cols = min(columns, t.g.N-w.col)
	next := strip + 1
	if t.parts == 1 { // all take from this queue
		next = strip + len(t.workers)
	}
	w.after = min(next*columns, t.g.N)
	return true
}

// help takes rows of what other workers are at until nothing is left.
func (t *blockTask) help(worker int) {
	for i, unpacked := 0, int64(1); unpacked > 0; i++ {
		unpacked = t.unpacked.Load()
		for w := range t.workers {
			t.work(worker, &t.workers[w])
		}
		pause(4)
		if i > 4096 {
			runtime.Gosched()
		}
	}
}

// work computes panels of rows of a claim until none is left.
func (t *blockTask) work(worker int, w *blockWorker) {
	for w.left.Load() > 0 {
		if left := int(w.left.Add(-1)); left >= 0 {
			t.compute(worker, w, w.to-1-left)
		}
	}
}

// compute does a panel of rows of a claim. Meanwhile it asks for a part of the
// strip of B that follows.
func (t *blockTask) compute(worker int, w *blockWorker, panel int) {
	g, mr, nr := &t.g, t.in.mr, t.in.nr
	if g.Packed == nil {
		t.in.prefetchB(g, t.k0, t.kc, w.after, min(t.width*nr, g.N-w.after), panel-w.from, w.to-w.from)
	}
	i := panel * mr
	a, rows := t.panel(i), min(mr, t.rows-i)
	accumulate, last := g.Accumulate || t.k0 > 0, t.k0+t.kc == g.K
	if last {
		g.prefetch(t.in, g.LDC, t.m0+i, w.col, rows, w.cols)
	}
	for j := 0; j < w.cols; j += nr {
		var bias []float32
		if last && g.Bias != nil {
			bias = g.Bias[w.col+j:]
		}
		t.tile(t.lanes, a, t.rs, t.ks, w.b[j*t.lanes:], nr, g.C[(t.m0+i)*g.LDC+w.col+j:], g.LDC, rows, min(nr, w.cols-j), accumulate, bias)
	}
	if last {
		g.finish(t.in, lastBlock(t.buffers[worker]), g.C, g.LDC, t.m0+i, w.col, rows, w.cols)
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
