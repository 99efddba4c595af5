package kernel

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// stored is x in bf16, and widened what it stands for.
func stored(x []float32) []uint16 {
	y := make([]uint16, len(x))
	for i, v := range x {
		y[i] = uint16(math.Float32bits(roundBF16Generic(v)) >> 16)
	}
	return y
}

func widened16(x []uint16) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = math.Float32frombits(uint32(v) << 16)
	}
	return y
}

// sameBits fails unless all numbers are the same.
func sameBits(t *rapid.T, name string, got, want []float32) {
	t.Helper()
	for i := range want {
		if !same(got[i], want[i]) {
			t.Fatalf("%s: element %d is %g, want %g", name, i, got[i], want[i])
		}
	}
}

// TestStoreBF16 rounds any bits to where they are kept, and widens them again.
func TestStoreBF16(t *testing.T) {
	defer active.Store(active.Load())
	for _, in := range emulating() {
		active.Store(in)
		rapid.Check(t, func(t *rapid.T) {
			x := random(t)(size(131).Draw(t, "n"))
			for range 10 {
				x[rapid.IntRange(0, len(x)-1).Draw(t, "place")] = anyFloat(t)
			}
			y := slices.Repeat([]uint16{12345}, len(x)+1)
			NarrowBF16(y[:len(x)], x)
			back := slices.Repeat([]float32{12345}, len(x)+1)
			WidenBF16(back, y[:len(x)])
			sameBits(t, string(in.isa), back, append(roundAll(x), 12345))
			if y[len(x)] != 12345 {
				t.Fatalf("%s: wrote past the end", in.isa)
			}
		})
	}
}

// TestGemmStored multiplies operands that are bf16 already, and stores the
// result so: all bits are those of rounding while packing and at the end.
func TestGemmStored(t *testing.T) {
	checkSets(t, emulating(), func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		k := rapid.OneOf(size(131), rapid.Just(0), rapid.IntRange(760, 800), rapid.IntRange(1530, 1550)).Draw(t, "k")
		m := size(131).Draw(t, "m")
		if k <= 16 { // more columns of a transposed A than are widened together
			m = rapid.OneOf(size(131), rapid.IntRange(1900, 2000)).Draw(t, "m")
		}
		g := drawGemm(t, m, size(131).Draw(t, "n"), k)
		g.BF16 = true
		h := g
		if rapid.Bool().Draw(t, "A is stored") {
			h.A, h.A16 = nil, stored(g.A)
		}
		if !g.TransB && rapid.Bool().Draw(t, "B is stored") {
			h.B, h.B16 = nil, stored(g.B)
		}
		if rapid.Bool().Draw(t, "C is stored") {
			g.Accumulate, h.Accumulate = false, false
			g.Function = Function(rapid.IntRange(0, int(SiLUFunction)).Draw(t, "function"))
			g.Saved = make([]float32, len(g.C))
			if rapid.Bool().Draw(t, "add") {
				g.Add = random(t)(len(g.C))
			}
			h.Epilogue, h.C = g.Epilogue, nil
			h.C16 = stored(g.C)
		}
		if err := h.Check(); err != nil {
			t.Fatal(err)
		}
		run := func(p *Pool, g GemmArgs) [][]float32 {
			g.C, g.C16, g.Saved = slices.Clone(g.C), slices.Clone(g.C16), slices.Clone(g.Saved)
			if g.C16 != nil { // what lies between two rows stays
				Gemm(p, g)
				return [][]float32{widened16(g.C16), g.Saved}
			}
			Gemm(p, g)
			if h.C16 != nil {
				g.C = roundAll(g.C)
			}
			return [][]float32{g.C, g.Saved}
		}
		return func(p *Pool) [][]float32 { return run(p, h) }, func(t *rapid.T, got [][]float32) {
			p := NewPool(1)
			defer p.Close()
			want := run(p, g)
			sameBits(t, "C", got[0], want[0])
			for i := range g.M {
				if g.Saved != nil {
					sameBits(t, "saved", got[1][i*g.LDC:][:g.N], want[1][i*g.LDC:][:g.N])
				}
			}
		}
	})
}

// TestRoundedResults has norms and activations store their results.
func TestRoundedResults(t *testing.T) {
	checkSets(t, emulating(), func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		rows, cols := size(17).Draw(t, "rows"), rapid.OneOf(size(131), rapid.IntRange(2040, 2060)).Draw(t, "cols")
		draw := random(t)
		x, gamma, beta := draw(rows*cols), draw(cols), draw(cols)
		f := Function(rapid.IntRange(0, int(SiLUFunction)).Draw(t, "function"))
		want := make([]float32, 3*len(x))
		run := func(p *Pool) [][]float32 {
			mean, rstd := make([]float32, 2*rows), make([]float32, 2*rows)
			y := make([]uint16, 3*len(x))
			LayerNormBF16(p, y, mean, rstd, x, gamma, beta, rows, cols, 1e-5)
			RMSNormBF16(p, y[len(x):], rstd[rows:], x, gamma, rows, cols, 1e-5)
			ActivationBF16(p, y[2*len(x):], f, x)
			LayerNorm(p, want, mean[rows:], make([]float32, rows), x, gamma, beta, rows, cols, 1e-5)
			RMSNorm(p, want[len(x):], make([]float32, rows), x, gamma, rows, cols, 1e-5)
			copy(want[2*len(x):], x)
			if value, _ := active.Load().function(f); value != nil {
				value(want[2*len(x):], x)
			}
			return [][]float32{widened16(y), mean, rstd}
		}
		return run, func(t *rapid.T, got [][]float32) {
			sameBits(t, "results", got[0], roundAll(want))
			sameBits(t, "means", got[1][:rows], got[1][rows:])
		}
	})
}
