package kernel

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// bf16Reference rounds by the definition: the nearer of the two neighbours, of
// equally near ones the even.
func bf16Reference(x float32) float32 {
	abs := math.Abs(float64(x))
	switch {
	case x != x || math.IsInf(abs, 0):
		return x
	case abs < 0x1p-126:
		return float32(math.Copysign(0, float64(x)))
	}
	_, e := math.Frexp(abs)
	unit := math.Ldexp(1, e-8) // of 8 significant bits
	rounded := math.RoundToEven(abs/unit) * unit
	if rounded >= 0x1p128 {
		rounded = math.Inf(1)
	}
	return float32(math.Copysign(rounded, float64(x)))
}

// anyFloat draws any bits: denormals, infinities and NaNs, too.
func anyFloat(t *rapid.T) float32 {
	edges := []uint32{0, 1, 0x007fffff, 0x00800000, 0x00807fff, 0x00808000, 0x00818000, 0x3f808000, 0x3f818000, 0x7f7fffff, 0x7f7f7fff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fffffff}
	u := rapid.OneOf(rapid.Uint32(), rapid.SampledFrom(edges)).Draw(t, "bits")
	return math.Float32frombits(u ^ uint32(rapid.IntRange(0, 1).Draw(t, "sign"))<<31)
}

// same tells whether two numbers have the same bits, or are both quiet NaNs.
func same(a, b float32) bool {
	quiet := math.Float32bits(a) & math.Float32bits(b) & (1 << 22)
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b && quiet != 0
}

func TestRoundBF16(t *testing.T) {
	defer SetISA(ActiveISA())
	for _, isa := range ISAs() {
		if err := SetISA(isa); err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) {
			x := make([]float32, rapid.IntRange(1, 40).Draw(t, "n"))
			for i := range x {
				x[i] = anyFloat(t)
			}
			y := make([]float32, len(x))
			RoundBF16(y, x)
			for i := range x {
				want := bf16Reference(x[i])
				if want != want {
					want = float32(math.NaN())
				}
				if !same(y[i], want) || math.Float32bits(y[i])&0xffff != 0 {
					t.Fatalf("%s: %x is rounded to %x, want %x", isa, math.Float32bits(x[i]), math.Float32bits(y[i]), math.Float32bits(want))
				}
			}
		})
	}
}

// halves are the two numbers of a pair.
func halves(p float32) (first, second float32) {
	u := math.Float32bits(p)
	return math.Float32frombits(u << 16), math.Float32frombits(u &^ 0xffff)
}

// TestPairs checks the three ways to make pairs against one rounding at a time.
func TestPairs(t *testing.T) {
	pairs := active.Load().pairs
	if pairs == nil {
		t.Skip("this processor has no instructions for bf16")
	}
	rapid.Check(t, func(t *rapid.T) {
		rows, cols := size(70).Draw(t, "rows"), size(131).Draw(t, "cols")
		lds := cols + rapid.IntRange(0, 3).Draw(t, "pad")
		x := random(t)(rows * lds)
		for range 10 {
			x[rapid.IntRange(0, len(x)-1).Draw(t, "place")] = anyFloat(t)
		}
		x = x[: (rows-1)*lds+cols : (rows-1)*lds+cols]
		at := func(r, c int) float32 {
			if r >= rows || c >= cols {
				return 0
			}
			return roundBF16Generic(x[r*lds+c])
		}
		const mark = 12345
		make := func(n int) []float32 {
			y := make([]float32, n)
			for i := range y {
				y[i] = mark
			}
			return y
		}
		verify := func(name string, pair, first, second float32) {
			if a, b := halves(pair); !same(a, first) || !same(b, second) {
				t.Fatalf("%s: pair %g, %g; want %g, %g", name, a, b, first, second)
			}
		}
		row := make(ceil(cols, 2) + 1)
		pairs.row(row, x[:cols])
		for p := range ceil(cols, 2) {
			verify("row", row[p], at(0, 2*p), at(0, 2*p+1))
		}
		down := make(ceil(rows, 2) * (cols + 1))
		pairs.columns(down, cols+1, x, lds, rows, cols)
		for p := range ceil(rows, 2) {
			for c := range cols {
				verify("columns", down[p*(cols+1)+c], at(2*p, c), at(2*p+1, c))
			}
			if down[p*(cols+1)+cols] != mark {
				t.Fatal("columns wrote past its columns")
			}
		}
		turned := make(ceil(cols, 2) * (rows + 1))
		pairs.transpose(turned, rows+1, x, lds, rows, cols)
		for p := range ceil(cols, 2) {
			for r := range rows {
				verify("transpose", turned[p*(rows+1)+r], at(r, 2*p), at(r, 2*p+1))
			}
			if turned[p*(rows+1)+rows] != mark {
				t.Fatal("transpose wrote past its rows")
			}
		}
		if row[len(row)-1] != mark {
			t.Fatal("row wrote past its pairs")
		}
	})
}

// TestPairTile multiplies pairs at strides, for each size of tile.
func TestPairTile(t *testing.T) {
	in := active.Load()
	if in.pairs == nil {
		t.Skip("this processor has no instructions for bf16")
	}
	rapid.Check(t, func(t *rapid.T) {
		rows, cols, kc := rapid.IntRange(1, in.mr).Draw(t, "rows"), rapid.IntRange(1, in.nr).Draw(t, "cols"), size(70).Draw(t, "k")
		lanes := ceil(kc, 2)
		draw := random(t)
		x, y, c, bias := draw(rows*kc), draw(kc*cols), draw(rows*(cols+1)), draw(cols)
		want := reference(GemmArgs{M: rows, N: cols, K: kc, A: roundAll(x), LDA: kc, B: roundAll(y), LDB: cols, C: c, LDC: cols + 1, Accumulate: true, Epilogue: Epilogue{Bias: bias}}, c)
		a, rs, ks := make([]float32, rows*lanes), lanes, 1
		for r := range rows {
			in.pairs.row(a[r*lanes:], x[r*kc:][:kc])
		}
		if rapid.Bool().Draw(t, "panel") {
			turned := make([]float32, rows*lanes)
			transposeGeneric(turned, rows, a, lanes, rows, lanes)
			a, rs, ks = turned, 1, rows
		}
		b := make([]float32, lanes*cols)
		in.pairs.columns(b, cols, y, cols, kc, cols)
		in.pairs.tile(lanes, a, rs, ks, b, cols, c, cols+1, rows, cols, true, bias)
		near(t, "C", c, want, tolerance(kc), 1)
	})
}

func roundAll(x []float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = roundBF16Generic(v)
	}
	return y
}

// emulating lists all sets of inner loops, and those with instructions for bf16
// once more without.
func emulating() []*inner {
	sets := available()
	for _, in := range sets {
		if in.pairs != nil {
			without := *in
			without.pairs, without.isa = nil, in.isa+"-emulated"
			sets = append(sets, &without)
		}
	}
	return sets
}

// TestGemmBF16 wants the product of rounded operands.
func TestGemmBF16(t *testing.T) {
	checkSets(t, emulating(), func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		k := rapid.OneOf(size(131), rapid.Just(0), rapid.IntRange(760, 800), rapid.IntRange(1530, 1550)).Draw(t, "k")
		g := drawGemm(t, size(131).Draw(t, "m"), size(131).Draw(t, "n"), k)
		g.BF16 = true
		packed := rapid.Bool().Draw(t, "packed")
		run := func(p *Pool) [][]float32 {
			h := g
			h.C = slices.Clone(g.C)
			if packed {
				h.Packed = make([]float32, PackedFloats(g.N, g.K))
				PackB(p, h.Packed, g)
				h.B = nil
			}
			Gemm(p, h)
			return [][]float32{h.C}
		}
		return run, func(t *rapid.T, got [][]float32) {
			h := g
			h.A, h.B = roundAll(g.A), roundAll(g.B)
			near(t, "C", got[0], reference(h, g.C), tolerance(k), 1)
		}
	})
}

// TestGemmBF16Values multiplies what is not an ordinary number, and wants the
// same of the instructions and without them.
func TestGemmBF16Values(t *testing.T) {
	p := NewPool(1)
	defer p.Close()
	defer active.Store(active.Load())
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, in := range emulating() {
		active.Store(in)
		for _, c := range []struct{ x, y, want float32 }{
			{1e-39, 1e38, 0}, {1e38, -1e-39, 0}, // denormals are zeros
			{inf, 1, inf}, {-3, inf, -inf}, {inf, 1e-39, nan}, {nan, 0, nan}, {1, nan, nan},
			{3.4e38, 1, inf},                    // too large for bf16
			{1.00390625, 1, 1},                  // halfway, to even
			{1.01171875, 1, 1.015625},           // halfway, to even
			{1.0039064, 1, 1.0078125},           // a little more than half
			{1.5, -2.25, -3.375},                // exact
			{1.0078125, 1.0078125, 1.015686035}, // 16 bits of product
		} {
			z := []float32{9}
			Gemm(p, GemmArgs{M: 1, N: 1, K: 1, A: []float32{c.x}, LDA: 1, B: []float32{c.y}, LDB: 1, C: z, LDC: 1, BF16: true})
			if z[0] != c.want && (c.want == c.want || z[0] == z[0]) {
				t.Errorf("%s: %g times %g is %g, want %g", in.isa, c.x, c.y, z[0], c.want)
			}
		}
	}
}

// TestMulAddsBF16 wants every number in the sum: each is 2 x y a round.
func TestMulAddsBF16(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	in := active.Load()
	flops, sum, err := MulAddsBF16(p, 100, 1.5, 2)
	if in.pairs == nil {
		var unavailable *ISAError
		if !errors.As(err, &unavailable) {
			t.Fatalf("error %v, want an ISAError", err)
		}
		return
	}
	chains := float64(in.pairs.chains)
	if err != nil || flops != 400*chains || sum != 600*chains {
		t.Errorf("%g operations, sum %g, error %v; want %g, %g", flops, sum, err, 400*chains, 600*chains)
	}
}

func BenchmarkMulAddsBF16(b *testing.B) {
	p := NewPool(1)
	defer p.Close()
	var total float64
	for b.Loop() {
		flops, _, err := MulAddsBF16(p, 1<<17, 0.5, 1)
		if err != nil {
			b.Skip(err)
		}
		total += flops
	}
	b.ReportMetric(total/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

// BenchmarkPairTile is the micro-kernel alone: the limit of products of pairs.
func BenchmarkPairTile(b *testing.B) {
	const kc = 384
	in := active.Load()
	if in.pairs == nil {
		b.Skip("no instructions for bf16")
	}
	for _, form := range []string{"rows", "panel"} {
		b.Run(form, func(b *testing.B) {
			x, y, z := Alloc(kc*panelA), Alloc(kc*in.nr), Alloc(in.mr*in.nr)
			rs, ks := kc, 1
			if form == "panel" {
				rs, ks = 1, panelA
			}
			for b.Loop() {
				in.pairs.tile(kc, x, rs, ks, y, in.nr, z, in.nr, in.mr, in.nr, true, nil)
			}
			report(b, 4*kc*in.mr*in.nr)
		})
	}
}

func BenchmarkPairs(b *testing.B) {
	in := active.Load()
	if in.pairs == nil {
		b.Skip("no instructions for bf16")
	}
	const rows, cols = 768, 768
	src, dst := Alloc(rows*cols), Alloc(rows*cols/2)
	for name, f := range map[string]func(){
		"row": func() { in.pairs.row(dst, src) },
		"columns48": func() {
			for c := 0; c < cols; c += 48 {
				in.pairs.columns(dst[c*rows/2:], 48, src[c:], cols, rows, 48)
			}
		},
		"columns8": func() {
			for c := 0; c < cols; c += 8 {
				in.pairs.columns(dst[c*rows/2:], 8, src[c:], cols, rows, 8)
			}
		},
		"transpose": func() {
			for r := 0; r < rows; r += 48 {
				in.pairs.transpose(dst[r*cols/2:], 48, src[r*cols:], cols, 48, cols)
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/(rows*cols), "ns/element")
		})
	}
}
