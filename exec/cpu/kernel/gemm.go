package kernel

import "fmt"

// GemmArgs describes the matrix product C = op(A) op(B) (+ C) (+ bias), where
// op transposes if asked to.
type GemmArgs struct {
	M, N, K int // op(A) is [M, K], op(B) [K, N], C [M, N]

	A      []float32 // [M, K], or [K, M] with TransA
	LDA    int
	TransA bool

	B      []float32 // [K, N], or [N, K] with TransB
	LDB    int
	TransB bool

	C   []float32
	LDC int

	Accumulate bool      // add to C instead of overwriting it
	Bias       []float32 // [N], added to each row; nil for none
}

// A ShapeError says that the arguments of a kernel do not fit together.
type ShapeError struct {
	Kernel string
	Reason string
}

func (e *ShapeError) Error() string { return "kernel: " + e.Kernel + ": " + e.Reason }

// Check tells whether the slices hold the matrices they describe, by a
// [*ShapeError] if not. A caller checks once, when it plans.
func (g *GemmArgs) Check() error {
	rowsA, colsA := g.M, g.K
	if g.TransA {
		rowsA, colsA = colsA, rowsA
	}
	rowsB, colsB := g.K, g.N
	if g.TransB {
		rowsB, colsB = colsB, rowsB
	}
	if err := checkMatrix("gemm", "A", len(g.A), rowsA, colsA, g.LDA); err != nil {
		return err
	}
	if err := checkMatrix("gemm", "B", len(g.B), rowsB, colsB, g.LDB); err != nil {
		return err
	}
	if err := checkMatrix("gemm", "C", len(g.C), g.M, g.N, g.LDC); err != nil {
		return err
	}
	if g.Bias != nil && len(g.Bias) < g.N {
		return &ShapeError{"gemm", fmt.Sprintf("bias has %d elements, C has %d columns", len(g.Bias), g.N)}
	}
	return nil
}

func checkMatrix(kernel, name string, have, rows, cols, ld int) error {
	switch {
	case rows < 0 || cols < 0:
		return &ShapeError{kernel, fmt.Sprintf("%s has a negative size [%d, %d]", name, rows, cols)}
	case rows == 0 || cols == 0:
		return nil
	case ld < cols:
		return &ShapeError{kernel, fmt.Sprintf("%s has %d columns but %d elements from row to row", name, cols, ld)}
	case have < (rows-1)*ld+cols:
		return &ShapeError{kernel, fmt.Sprintf("%s [%d, %d] with %d elements from row to row needs %d elements, has %d", name, rows, cols, ld, (rows-1)*ld+cols, have)}
	}
	return nil
}

const (
	maxKC    = 768 // largest depth of a packed block
	skinnyM  = 8   // up to so many rows, B is read in place
	inPlaceM = 32  // the same for a B that is not transposed
	panelA   = 8   // width of a packed panel of A, mr <= panelA
	minTiles = 6   // tiles a worker should have to claim, at least
)

// depthBlock divides K into equal blocks of at most maxKC.
func depthBlock(k int) int {
	blocks := (k + maxKC - 1) / maxKC
	return ((k+blocks-1)/blocks + 15) &^ 15
}

// Gemm computes a matrix product after Goto and Van de Geijn, Anatomy of
// High-Performance Matrix Multiplication (2008): blocks of A and B are packed
// into panels as wide as the micro-kernel's tile, shared by all workers, which
// then claim tiles of C. A product of few rows reads B in place.
func Gemm(p *Pool, g GemmArgs) {
	switch {
	case g.M <= 0 || g.N <= 0:
	case g.K <= 0:
		gemmEmpty(&g)
	case g.M <= skinnyM || g.M <= inPlaceM && !g.TransB:
		gemmSkinny(p, &g)
	default:
		gemmPacked(p, &g)
	}
}

// gemmEmpty is the product over no terms: zero, plus what is added.
func gemmEmpty(g *GemmArgs) {
	for i := range g.M {
		row := g.C[i*g.LDC:][:g.N]
		if !g.Accumulate {
			clear(row)
		}
		for j, b := range g.Bias[:min(len(g.Bias), g.N)] {
			row[j] += b
		}
	}
}

func gemmPacked(p *Pool, g *GemmArgs) {
	in, pack, tile := active.Load(), &p.tasks.pack, &p.tasks.tile
	kc := min(depthBlock(g.K), g.K)
	mc := packedA / (kc * panelA) * in.mr
	nc := packedB / (kc * in.nr) * in.nr
	*pack = packTask{g: *g, in: in, a: p.scratch.a, b: p.scratch.b}
	for m0 := 0; m0 < g.M; m0 += mc {
		for k0 := 0; k0 < g.K; k0 += kc {
			for n0 := 0; n0 < g.N; n0 += nc {
				pack.m0, pack.rows = m0, min(mc, g.M-m0)
				pack.n0, pack.cols = n0, min(nc, g.N-n0)
				pack.k0, pack.depth = k0, min(kc, g.K-k0)
				pack.keepA = n0 > 0
				p.run(pack.count(), 2, pack)
				tile.set(pack, p.Threads())
				p.run(tile.count(), 1, tile)
			}
		}
	}
	*pack, *tile = packTask{}, tileTask{}
}

func ceil(a, b int) int { return (a + b - 1) / b }

// tileTask computes the block of C whose operands are packed, tile by tile. A
// tile is rowPanels by colPanels of the micro-kernel's; consecutive tiles
// share their panels of B.
type tileTask struct {
	*packTask
	rowPanels, colPanels int // of a tile
	down, across         int // tiles
}

// colBytes is how much of B a tile covers: it should stay in the L2 cache.
const colBytes = 512 << 10

// set chooses the tile size. It changes who computes what, never the bits.
func (t *tileTask) set(pack *packTask, threads int) {
	rows, cols := ceil(pack.rows, pack.in.mr), ceil(pack.cols, pack.in.nr)
	t.packTask = pack
	t.rowPanels = rows
	t.colPanels = min(max(1, colBytes/4/(pack.depth*pack.in.nr)), cols)
	for t.grid(rows, cols) < minTiles*threads && threads > 1 {
		switch {
		case t.rowPanels > 8 && t.rowPanels >= 2*t.colPanels:
			t.rowPanels = ceil(t.rowPanels, 2)
		case t.colPanels > 1:
			t.colPanels = ceil(t.colPanels, 2)
		default:
			return
		}
	}
}

func (t *tileTask) grid(rows, cols int) int {
	t.down, t.across = ceil(rows, t.rowPanels), ceil(cols, t.colPanels)
	return t.down * t.across
}

func (t *tileTask) count() int { return t.down * t.across }

func (t *tileTask) run(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.compute(i%t.down*t.rowPanels, i/t.down*t.colPanels)
	}
}

// compute does the tile whose first panels are row and col.
func (t *tileTask) compute(row, col int) {
	g, mr, nr, kc := &t.g, t.in.mr, t.in.nr, t.depth
	accumulate := g.Accumulate || t.k0 > 0
	last := t.k0+kc == g.K
	for i := row * mr; i < min((row+t.rowPanels)*mr, t.rows); i += mr {
		a := t.a[i/mr*kc*panelA:]
		for j := col * nr; j < min((col+t.colPanels)*nr, t.cols); j += nr {
			var bias []float32
			if last && g.Bias != nil {
				bias = g.Bias[t.n0+j:]
			}
			c := g.C[(t.m0+i)*g.LDC+t.n0+j:]
			t.in.tile(kc, a, 1, panelA, t.b[j*kc:], nr, c, g.LDC, min(mr, t.rows-i), min(nr, t.cols-j), accumulate, bias)
		}
	}
}
