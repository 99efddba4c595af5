package kernel

import "fmt"

// GemmArgs describes the matrix product C = op(A) op(B) (+ C), where op
// transposes if asked to, and what follows it.
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

	// BF16 rounds A and B to bf16 before they are multiplied. The products are
	// added up in float32. A16 and B16 are operands that are bf16 already, in
	// place of A and B; B16 cannot be transposed.
	BF16     bool
	A16, B16 []uint16

	// Packed is B as [PackB] lays it out for the same BF16; nil where there is
	// only B.
	Packed []float32

	Accumulate bool // add to C instead of overwriting it
	Epilogue
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
	a, b, c := len(g.A), len(g.B), len(g.C)
	if g.A16 != nil {
		a = len(g.A16)
	}
	if g.B16 != nil {
		b = len(g.B16)
	}
	if g.C16 != nil {
		c = len(g.C16)
	}
	if (g.A16 != nil || g.B16 != nil) && !g.BF16 || g.B16 != nil && g.TransB {
		return &ShapeError{"gemm", "operands in bf16 are those of a product in bf16, B not transposed"}
	}
	if err := checkMatrix("gemm", "A", a, rowsA, colsA, g.LDA); err != nil {
		return err
	}
	if err := checkMatrix("gemm", "B", b, rowsB, colsB, g.LDB); err != nil {
		return err
	}
	if err := checkMatrix("gemm", "C", c, g.M, g.N, g.LDC); err != nil {
		return err
	}
	if g.C16 != nil && g.Accumulate {
		return &ShapeError{"gemm", "C in bf16 cannot be added to"}
	}
	if n := PackedFloats(g.N, g.K); g.Packed != nil && len(g.Packed) < n {
		return &ShapeError{"gemm", fmt.Sprintf("packed B has %d elements, needs %d", len(g.Packed), n)}
	}
	return g.Epilogue.check(g.M, g.N, g.LDC)
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
	maxKC    = 768 // largest depth of a block, in lanes
	skinnyM  = 8   // up to so many rows, B is read in place
	inPlaceM = 32  // the same for a B that is not transposed
)

// depthBlock divides K into equal blocks of at most maxKC lanes.
func (f format) depthBlock(k int) int {
	blocks := max(1, ceil(f.lanes(k), maxKC))
	return min(((k+blocks-1)/blocks+15)&^15, k)
}

// Gemm computes a matrix product after Goto and Van de Geijn, Anatomy of
// High-Performance Matrix Multiplication (2008), with one change: a worker
// packs the strip of B that it is about to use into its own cache, so that no
// packed B goes through memory, and no worker waits for another. A is read in
// place, or packed once if it is transposed. A product of few rows reads B in
// place, too, unless it must be rounded.
func Gemm(p *Pool, g GemmArgs) {
	if g.C16 != nil {
		g.C = g.Saved
	}
	switch {
	case g.M <= 0 || g.N <= 0:
	case g.K <= 0:
		gemmEmpty(p.scratch.workers[0], &g)
	case g.Packed == nil && !g.BF16 && (g.M <= skinnyM || g.M <= inPlaceM && !g.TransB):
		gemmSkinny(p, &g)
	default:
		gemmBlocked(p, &g)
	}
}

// gemmEmpty is the product over no terms: zero, plus what is added.
func gemmEmpty(worker []float32, g *GemmArgs) {
	for i := range g.M {
		row := g.C[i*g.LDC:][:g.N]
		if !g.Accumulate {
			clear(row)
		}
		for j, b := range g.Bias[:min(len(g.Bias), g.N)] {
			row[j] += b
		}
	}
	g.finish(active.Load(), lastBlock(worker), g.C, g.LDC, 0, 0, g.M, g.N)
}

func ceil(a, b int) int { return (a + b - 1) / b }
