package kernel

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// reference is the product in float64, C as [M, LDC].
func reference(g GemmArgs, c []float32) []float64 {
	out := doubles(c)
	at := func(x []float32, ld, i, j int, trans bool) float64 {
		if trans {
			i, j = j, i
		}
		return float64(x[i*ld+j])
	}
	for i := range g.M {
		for j := range g.N {
			var s float64
			if g.Accumulate {
				s = out[i*g.LDC+j]
			}
			if g.Bias != nil {
				s += float64(g.Bias[j])
			}
			for k := range g.K {
				s += at(g.A, g.LDA, i, k, g.TransA) * at(g.B, g.LDB, k, j, g.TransB)
			}
			out[i*g.LDC+j] = s
		}
	}
	return out
}

// epilogue follows the product c in float64, and returns what is saved.
func epilogue(g GemmArgs, c []float64) (saved []float64) {
	saved = doubles(g.Saved)
	value, slope := functionReference(g.Function)
	for i := range g.M {
		for j := range g.N {
			at := i*g.LDC + j
			if g.Add != nil {
				c[at] += float64(g.Add[at])
			}
			if g.Slope {
				c[at] *= slope(saved[at])
				continue
			}
			if g.Saved != nil {
				saved[at] = c[at]
			}
			c[at] = value(c[at])
		}
	}
	return saved
}

// functionReference gives f and its derivative, by differences, in float64.
func functionReference(f Function) (value, slope func(x float64) float64) {
	value = map[Function]func(x float64) float64{
		Identity:         func(x float64) float64 { return x },
		GELUTanhFunction: func(x float64) float64 { return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))) },
		GELUErfFunction:  func(x float64) float64 { return x / 2 * math.Erfc(-x/math.Sqrt2) },
		SiLUFunction:     func(x float64) float64 { return x / (1 + math.Exp(-x)) },
	}[f]
	return value, func(x float64) float64 { return (value(x+1e-5) - value(x-1e-5)) / 2e-5 }
}

// drawGemm draws a product's shape and operands.
func drawGemm(t *rapid.T, m, n, k int) GemmArgs {
	x := random(t)
	g := GemmArgs{M: m, N: n, K: k}
	g.TransA, g.TransB = rapid.Bool().Draw(t, "transA"), rapid.Bool().Draw(t, "transB")
	g.Accumulate = rapid.Bool().Draw(t, "accumulate")
	pad := rapid.IntRange(0, 3)
	operand := func(rows, cols int, trans bool) ([]float32, int) {
		if trans {
			rows, cols = cols, rows
		}
		ld := cols + pad.Draw(t, "pad")
		return x(max(0, (rows-1)*ld+cols)), ld
	}
	g.A, g.LDA = operand(m, k, g.TransA)
	g.B, g.LDB = operand(k, n, g.TransB)
	g.C, g.LDC = operand(m, n, false)
	if rapid.Bool().Draw(t, "bias") {
		g.Bias = x(n)
	}
	return g
}

// tolerance allows the rounding of k terms added one by one, of which partial
// sums grow with the root of k, far out in the tail.
func tolerance(k int) float64 { return 3e-7 * float64(k+10) }

func TestGemm(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		k := rapid.OneOf(size(131), rapid.Just(0), rapid.IntRange(760, 800)).Draw(t, "k")
		g := drawGemm(t, size(131).Draw(t, "m"), size(131).Draw(t, "n"), k)
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
		run := func(p *Pool) [][]float32 {
			h := g
			h.C = slices.Clone(g.C)
			Gemm(p, h)
			return [][]float32{h.C}
		}
		return run, func(t *rapid.T, got [][]float32) {
			near(t, "C", got[0], reference(g, g.C), tolerance(k), 1)
		}
	})
}

// TestGemmManyRows checks products whose rows are divided among three threads.
func TestGemmManyRows(t *testing.T) {
	checkSets(t, emulating(), func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		k := size(20).Draw(t, "k")
		g := drawGemm(t, rapid.IntRange(3*leastPairs-1, 3*leastRows+50).Draw(t, "m"), size(64).Draw(t, "n"), k)
		g.BF16 = rapid.Bool().Draw(t, "bf16")
		run := func(p *Pool) [][]float32 {
			h := g
			h.C = slices.Clone(g.C)
			Gemm(p, h)
			return [][]float32{h.C}
		}
		return run, func(t *rapid.T, got [][]float32) {
			h := g
			if g.BF16 {
				h.A, h.B = roundAll(g.A), roundAll(g.B)
			}
			near(t, "C", got[0], reference(h, g.C), 4*tolerance(k), 1)
		}
	})
}

// TestGemmEpilogue checks what follows a product, and products of packed operands.
func TestGemmEpilogue(t *testing.T) {
	checkSets(t, emulating(), func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		k := rapid.OneOf(size(70), rapid.Just(0), rapid.IntRange(760, 800)).Draw(t, "k")
		g := drawGemm(t, size(131).Draw(t, "m"), size(131).Draw(t, "n"), k)
		g.Function = Function(rapid.IntRange(0, int(SiLUFunction)).Draw(t, "function"))
		g.Slope = rapid.Bool().Draw(t, "slope")
		x := random(t)
		if g.Slope || rapid.Bool().Draw(t, "save") {
			g.Saved = x(len(g.C))
		}
		if rapid.Bool().Draw(t, "add") {
			g.Add = x(len(g.C))
		}
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
		g.BF16 = rapid.Bool().Draw(t, "bf16")
		packed := rapid.Bool().Draw(t, "packed")
		run := func(p *Pool) [][]float32 {
			h := g
			h.C, h.Saved = slices.Clone(g.C), slices.Clone(g.Saved)
			if packed {
				h.Packed = make([]float32, PackedFloats(g.N, g.K))
				PackB(p, h.Packed, g)
				h.B = nil
			}
			Gemm(p, h)
			return [][]float32{h.C, h.Saved}
		}
		return run, func(t *rapid.T, got [][]float32) {
			h := g
			if g.BF16 {
				h.A, h.B = roundAll(g.A), roundAll(g.B)
			}
			want := reference(h, g.C)
			saved := epilogue(g, want)
			near(t, "C", got[0], want, 4*tolerance(k), 1)
			near(t, "saved", got[1], saved, 2*tolerance(k), 1)
		}
	})
}

func TestGemmBatched(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		m, n, k, batch := size(70).Draw(t, "m"), size(70).Draw(t, "n"), size(64).Draw(t, "k"), rapid.IntRange(1, 4).Draw(t, "batch")
		x := random(t)
		g := BatchedGemmArgs{GemmArgs: drawGemm(t, m, n, k), Batch: batch}
		g.StrideA, g.StrideB, g.StrideC = len(g.A)+1, len(g.B), len(g.C)+2
		g.A, g.B, g.C = x(batch*g.StrideA), x(batch*g.StrideB), x(batch*g.StrideC)
		run := func(p *Pool) [][]float32 {
			h := g
			h.C = slices.Clone(g.C)
			GemmBatched(p, h)
			return [][]float32{h.C}
		}
		return run, func(t *rapid.T, got [][]float32) {
			want := doubles(g.C)
			for i := range batch {
				h := g.GemmArgs
				h.A, h.B = g.A[i*g.StrideA:], g.B[i*g.StrideB:]
				c := g.C[i*g.StrideC:][:g.StrideC]
				copy(want[i*g.StrideC:], reference(h, c))
			}
			near(t, "C", got[0], want, tolerance(k), 1)
		}
	})
}

// TestGemmBlocks makes the blocks that are packed at once small against the
// product, in each dimension.
func TestGemmBlocks(t *testing.T) {
	if testing.Short() {
		t.Skip("multiplies larger matrices")
	}
	p := NewPool(2)
	defer p.Close()
	for _, s := range [][3]int{{9, 2100, 770}, {1100, 50, 770}} {
		g := GemmArgs{M: s[0], N: s[1], K: s[2], LDA: s[2], LDB: s[1], LDC: s[1]}
		g.A, g.B, g.C = make([]float32, g.M*g.K), make([]float32, g.K*g.N), make([]float32, g.M*g.N)
		for i := range g.A {
			g.A[i] = float32(i%7) - 3
		}
		for i := range g.B {
			g.B[i] = float32(i%5) - 2
		}
		Gemm(p, g) // small whole numbers: exact
		for i, want := range reference(g, g.C) {
			if float64(g.C[i]) != want {
				t.Fatalf("%v: element %d is %g, want %g", s, i, g.C[i], want)
			}
		}
	}
}

func TestGemmCheck(t *testing.T) {
	good := GemmArgs{M: 2, N: 3, K: 4, A: make([]float32, 8), LDA: 4, B: make([]float32, 12), LDB: 3, C: make([]float32, 6), LDC: 3}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(g *GemmArgs){
		"short A":       func(g *GemmArgs) { g.A = g.A[:7] },
		"short B":       func(g *GemmArgs) { g.B = g.B[:11] },
		"short C":       func(g *GemmArgs) { g.C = g.C[:5] },
		"small ld":      func(g *GemmArgs) { g.LDB = 2 },
		"negative":      func(g *GemmArgs) { g.M = -1 },
		"short bias":    func(g *GemmArgs) { g.Bias = make([]float32, 2) },
		"short add":     func(g *GemmArgs) { g.Add = make([]float32, 5) },
		"short saved":   func(g *GemmArgs) { g.Saved = make([]float32, 5) },
		"short packed":  func(g *GemmArgs) { g.Packed = make([]float32, 11) },
		"nothing saved": func(g *GemmArgs) { g.Function, g.Slope = SiLUFunction, true },
		"function":      func(g *GemmArgs) { g.Function = 77 },
		"short A16":     func(g *GemmArgs) { g.BF16, g.A16 = true, make([]uint16, 7) },
		"short B16":     func(g *GemmArgs) { g.BF16, g.B16 = true, make([]uint16, 11) },
		"A16 in fp32":   func(g *GemmArgs) { g.A16 = make([]uint16, 8) },
		"transposed":    func(g *GemmArgs) { g.BF16, g.B16, g.TransB, g.LDB = true, make([]uint16, 12), true, 4 },
		"short C16":     func(g *GemmArgs) { g.Saved, g.C16 = make([]float32, 6), make([]uint16, 5) },
		"C16 alone":     func(g *GemmArgs) { g.C16 = make([]uint16, 6) },
		"sum in C16":    func(g *GemmArgs) { g.Saved, g.C16, g.Accumulate = make([]float32, 6), make([]uint16, 6), true },
	} {
		g := good
		spoil(&g)
		var shape *ShapeError
		if err := g.Check(); !errors.As(err, &shape) {
			t.Errorf("%s: error is %v, want a ShapeError", name, err)
		}
	}
}

func BenchmarkGemm(b *testing.B) {
	shapes := [][3]int{{1024, 1024, 256}, {1024, 256, 1024}, {1024, 768, 768}, {1024, 3072, 768}, {256, 768, 768}, {1, 3072, 768}, {4, 3072, 768}}
	for _, threads := range []int{1, 2} {
		p := NewPool(threads)
		defer p.Close()
		for _, s := range shapes {
			for _, kind := range []string{"NN", "NT", "TN"} {
				b.Run(fmt.Sprintf("threads=%d/M=%d,N=%d,K=%d/%s", threads, s[0], s[1], s[2], kind), func(b *testing.B) {
					g := GemmArgs{M: s[0], N: s[1], K: s[2], LDA: s[2], LDB: s[1], LDC: s[1], TransA: kind[0] == 'T', TransB: kind[1] == 'T'}
					if g.TransA {
						g.LDA = g.M
					}
					if g.TransB {
						g.LDB = g.K
					}
					g.A, g.B, g.C = Alloc(g.M*g.K), Alloc(g.K*g.N), Alloc(g.M*g.N)
					defer Free(g.A)
					defer Free(g.B)
					defer Free(g.C)
					fill(g.A, 0.5)
					fill(g.B, 0.25)
					b.ReportAllocs()
					for b.Loop() {
						Gemm(p, g)
					}
					report(b, 2*g.M*g.N*g.K)
				})
			}
		}
	}
}

// report gives the speed of an iteration of flops operations.
func report(b *testing.B, flops int) {
	b.ReportMetric(float64(flops)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

// BenchmarkTile is the micro-kernel alone: the limit of the others.
func BenchmarkTile(b *testing.B) {
	const kc = 256
	in := active.Load()
	x, y, z := Alloc(kc*panelA), Alloc(kc*in.nr), Alloc(in.mr*in.nr)
	for b.Loop() {
		in.tile(kc, x, 1, panelA, y, in.nr, z, in.nr, in.mr, in.nr, true, nil)
	}
	report(b, 2*kc*in.mr*in.nr)
}
