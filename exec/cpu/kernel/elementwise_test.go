package kernel

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func sigmoid64(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func cdf(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }

func tanhArgument(x float64) float64 { return math.Sqrt(2/math.Pi) * (x + 0.044715*x*x*x) }

// TestFunctionAccuracy walks the whole range of the elementary functions.
func TestFunctionAccuracy(t *testing.T) {
	p := NewPool(1)
	defer p.Close()
	functions := []struct {
		name  string
		f     func(p *Pool, y, x []float32)
		exact func(x float64) float64
		limit float64 // ulp
		reach float64
	}{
		{"exp", Exp, math.Exp, 1, 87},
		{"tanh", Tanh, math.Tanh, 2, 20},
		{"sigmoid", Sigmoid, sigmoid64, 3, 80},
		{"erf", Erf, math.Erf, 2, 10},
	}
	best := ActiveISA()
	defer SetISA(best)
	for _, isa := range ISAs() {
		SetISA(isa)
		for _, f := range functions {
			const n = 100003
			x, y := make([]float32, n), make([]float32, n)
			for i := range x {
				x[i] = float32((2*float64(i)/n - 1) * f.reach)
				if i%2 == 0 { // close to zero, many magnitudes
					x[i] = float32(math.Copysign(math.Exp2(-30+32*float64(i)/n), float64(x[(i+n/2)%n])))
				}
			}
			f.f(p, y, x)
			worst, at := 0.0, 0
			for i := range x {
				if e := ulps(y[i], f.exact(float64(x[i]))); e > worst {
					worst, at = e, i
				}
			}
			t.Logf("%s %s: %.2f ulp at %g", isa, f.name, worst, x[at])
			if worst > f.limit {
				t.Errorf("%s %s: %g at %g, off by %.1f ulp", isa, f.name, y[at], x[at], worst)
			}
		}
	}
}

func TestFunctionEdges(t *testing.T) {
	p := NewPool(1)
	defer p.Close()
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	best := ActiveISA()
	defer SetISA(best)
	for _, isa := range ISAs() {
		SetISA(isa)
		for _, c := range []struct {
			name    string
			f       func(p *Pool, y, x []float32)
			x, want float32
		}{
			{"exp", Exp, inf, inf}, {"exp", Exp, -inf, 0}, {"exp", Exp, nan, nan}, {"exp", Exp, 0, 1},
			{"exp", Exp, 88.8, inf}, {"exp", Exp, -104, 0}, {"exp", Exp, 88.7, float32(math.Exp(float64(float32(88.7))))},
			{"tanh", Tanh, inf, 1}, {"tanh", Tanh, -inf, -1}, {"tanh", Tanh, nan, nan}, {"tanh", Tanh, 0, 0},
			{"sigmoid", Sigmoid, inf, 1}, {"sigmoid", Sigmoid, -inf, 0}, {"sigmoid", Sigmoid, nan, nan},
			{"erf", Erf, inf, 1}, {"erf", Erf, -inf, -1}, {"erf", Erf, nan, nan}, {"erf", Erf, 0, 0},
			{"gelu", GELUTanh, -100, 0}, {"gelu", GELUTanh, 100, 100}, {"gelu", GELUErf, -100, 0}, {"gelu", GELUErf, 100, 100},
			{"silu", SiLU, -100, -100 * float32(math.Exp(-100))}, {"silu", SiLU, 100, 100},
		} {
			y := make([]float32, 17)
			x := slices.Repeat([]float32{c.x}, 17)
			c.f(p, y, x)
			for _, got := range y {
				same := got == c.want || got != got && c.want != c.want || math.Abs(float64(got-c.want)) <= 3e-7*math.Abs(float64(c.want))
				if !same && !(math.Abs(float64(got-c.want)) < 1e-38) {
					t.Errorf("%s %s(%g) = %g, want %g", isa, c.name, c.x, got, c.want)
					break
				}
			}
		}
	}
}

func TestElementwise(t *testing.T) {
	length := rapid.OneOf(size(131), rapid.IntRange(chunk-2, chunk+20), rapid.Just(0))
	derivative := func(f func(x float64) float64) func(dy, x, _ float64) float64 {
		return func(dy, x, _ float64) float64 { return dy * f(x) }
	}
	of := func(f func(x float64) float64) func(x, _, _ float64) float64 {
		return func(x, _, _ float64) float64 { return f(x) }
	}
	one := func(f func(p *Pool, y, x []float32)) func(p *Pool, y, a, b []float32, s float32) {
		return func(p *Pool, y, a, _ []float32, _ float32) { f(p, y, a) }
	}
	two := func(f func(p *Pool, y, a, b []float32)) func(p *Pool, y, a, b []float32, s float32) {
		return func(p *Pool, y, a, b []float32, _ float32) { f(p, y, a, b) }
	}
	kernels := map[string]struct {
		f     func(p *Pool, y, a, b []float32, s float32)
		exact func(a, b, s float64) float64
	}{
		"add":   {two(Add), func(a, b, _ float64) float64 { return a + b }},
		"mul":   {two(Mul), func(a, b, _ float64) float64 { return a * b }},
		"scale": {func(p *Pool, y, a, _ []float32, s float32) { Scale(p, y, a, s) }, func(a, _, s float64) float64 { return a * s }},
		"accumulate": {func(p *Pool, y, a, b []float32, s float32) {
			copy(y, b)
			Accumulate(p, y, a, s)
		}, func(a, b, s float64) float64 { return b + a*s }},
		"zero":     {one(func(p *Pool, y, _ []float32) { Zero(p, y) }), func(_, _, _ float64) float64 { return 0 }},
		"geluTanh": {one(GELUTanh), of(func(x float64) float64 { return x / 2 * (1 + math.Tanh(tanhArgument(x))) })},
		"geluErf":  {one(GELUErf), of(func(x float64) float64 { return x * cdf(x) })},
		"silu":     {one(SiLU), of(func(x float64) float64 { return x * sigmoid64(x) })},
		"geluTanhGrad": {two(GELUTanhGrad), derivative(func(x float64) float64 {
			th := math.Tanh(tanhArgument(x))
			return 0.5*(1+th) + 0.5*x*(1-th*th)*math.Sqrt(2/math.Pi)*(1+3*0.044715*x*x)
		})},
		"geluErfGrad": {two(GELUErfGrad), derivative(func(x float64) float64 {
			return cdf(x) + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
		})},
		"siluGrad": {two(SiLUGrad), derivative(func(x float64) float64 {
			s := sigmoid64(x)
			return s + x*s*(1-s)
		})},
	}
	for name, k := range kernels {
		t.Run(name, func(t *testing.T) {
			check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
				x, n := random(t), length.Draw(t, "n")
				a, b, s := x(n), x(n), x(1)[0]
				for i := range a {
					a[i], b[i] = 3*a[i], 3*b[i]
				}
				run := func(p *Pool) [][]float32 {
					y := x(n)
					k.f(p, y, a, b, s)
					return [][]float32{y}
				}
				return run, func(t *rapid.T, got [][]float32) {
					want := make([]float64, n)
					for i := range want {
						want[i] = k.exact(float64(a[i]), float64(b[i]), float64(s))
					}
					near(t, name, got[0], want, 4e-6, 1)
				}
			})
		})
	}
}

func TestSumSquares(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		x := random(t)(rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(20000, 40000)).Draw(t, "n"))
		var sums []float64
		run := func(p *Pool) [][]float32 {
			sums = append(sums, SumSquares(p, x))
			return nil
		}
		return run, func(t *rapid.T, _ [][]float32) {
			var want float64
			for _, v := range x {
				want += float64(v) * float64(v)
			}
			if sums[0] != sums[1] || math.Abs(sums[0]-want) > 1e-12*want {
				t.Fatalf("sums %v with 1 and 3 threads, want %g", sums, want)
			}
		}
	})
}

func TestAdamW(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		x, n := random(t), size(131).Draw(t, "n")
		a := AdamWArgs{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Step: rapid.IntRange(1, 2000).Draw(t, "step"), GradScale: 0.5}
		p0, m0, v0, g := x(n), x(n), x(n), x(n)
		for i := range v0 {
			v0[i] *= v0[i]
		}
		run := func(p *Pool) [][]float32 {
			q, m, v := slices.Clone(p0), slices.Clone(m0), slices.Clone(v0)
			AdamW(p, q, m, v, g, a)
			return [][]float32{q, m, v}
		}
		return run, func(t *rapid.T, got [][]float32) {
			q, m, v := doubles(p0), doubles(m0), doubles(v0)
			for i := range q {
				grad := float64(g[i]) * a.GradScale
				q[i] *= 1 - a.LR*a.WeightDecay
				m[i] = a.Beta1*m[i] + (1-a.Beta1)*grad
				v[i] = a.Beta2*v[i] + (1-a.Beta2)*grad*grad
				c1, c2 := 1-math.Pow(a.Beta1, float64(a.Step)), 1-math.Pow(a.Beta2, float64(a.Step))
				q[i] -= a.LR / c1 * m[i] / (math.Sqrt(v[i])/math.Sqrt(c2) + a.Eps)
			}
			near(t, "p", got[0], q, 1e-6, 1)
			near(t, "m", got[1], m, 1e-6, 1)
			near(t, "v", got[2], v, 1e-6, 1)
		}
	})
}

func TestDropout(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		n := rapid.OneOf(size(131), rapid.Just(chunk+7)).Draw(t, "n")
		x := random(t)(n)
		d := DropoutArgs{
			P: rapid.SampledFrom([]float64{0, 0.1, 0.5, 0.9}).Draw(t, "p"), Seed: rapid.Uint64().Draw(t, "key"),
			Step: rapid.Uint32().Draw(t, "step"), Site: rapid.Uint32().Draw(t, "site"),
			First: rapid.SampledFrom([]uint64{0, 1, 2, 3, 4, 1<<34 - 5}).Draw(t, "first"),
		}
		run := func(p *Pool) [][]float32 {
			y := make([]float32, n)
			Dropout(p, y, x, d)
			return [][]float32{y}
		}
		return run, func(t *rapid.T, got [][]float32) {
			for i, v := range got[0] {
				e := d.First + uint64(i)
				words := Philox4x32([4]uint32{uint32(e / 4), uint32(e / 4 >> 32), d.Site, d.Step}, [2]uint32{uint32(d.Seed), uint32(d.Seed >> 32)})
				var want float32
				if float64(words[e%4]) >= math.Floor(d.P*(1<<32)) {
					want = x[i] * float32(1/(1-d.P))
				}
				if v != want {
					t.Fatalf("element %d is %g, want %g", i, v, want)
				}
			}
		}
	})
}

// TestDropoutOfParts cuts a tensor of three dimensions along all of them: each
// part drops what the whole drops there.
func TestDropoutOfParts(t *testing.T) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		var local, parts, index [3]int
		for i := range local {
			local[i] = size(40).Draw(t, "size")
			parts[i] = rapid.IntRange(1, 3).Draw(t, "parts")
			index[i] = rapid.IntRange(0, parts[i]-1).Draw(t, "part")
		}
		width, row := local[2]*parts[2], local[1]*parts[1]*local[2]*parts[2]
		at := func(b, s, c int) int {
			return (index[0]*local[0]+b)*row + (index[1]*local[1]+s)*width + index[2]*local[2] + c
		}
		d := DropoutArgs{P: 0.3, Seed: 5, Site: 2, First: rapid.Uint64Max(1<<40).Draw(t, "first")}
		whole := random(t)(local[0] * parts[0] * row)
		x := make([]float32, 0, local[0]*local[1]*local[2])
		for i := range cap(x) {
			x = append(x, whole[at(i/local[2]/local[1], i/local[2]%local[1], i%local[2])])
		}
		run := func(p *Pool) [][]float32 {
			all, y := make([]float32, len(whole)), make([]float32, len(x))
			Dropout(p, all, whole, d)
			part := d
			part.First += uint64(at(0, 0, 0))
			part.Cut = Cut{Run: local[2], Steps: []Step{{local[0], uint64(row)}, {local[1], uint64(width)}}}
			Dropout(p, y, x, part)
			return [][]float32{y, all}
		}
		return run, func(t *rapid.T, got [][]float32) {
			for i, v := range got[0] {
				if want := got[1][at(i/local[2]/local[1], i/local[2]%local[1], i%local[2])]; v != want {
					t.Fatalf("element %d of the part is %g, in the whole %g", i, v, want)
				}
			}
		}
	})
}

// TestPhilox has the known answers of Random123's kat_vectors.
func TestPhilox(t *testing.T) {
	const ones = math.MaxUint32
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{ones, ones, ones, ones}, [2]uint32{ones, ones}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0}, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := Philox4x32(c.counter, c.key); got != c.want {
			t.Errorf("Philox(%x, %x) = %x, want %x", c.counter, c.key, got, c.want)
		}
	}
}

func BenchmarkElementwise(b *testing.B) {
	p := NewPool(1)
	defer p.Close()
	const n = 1 << 16
	x, y, z, w := Alloc(n), Alloc(n), Alloc(n), Alloc(n)
	halves := Cut{384, []Step{{n, 768}}}
	for i := range x {
		x[i] = float32(math.Sin(float64(i)))
	}
	for _, k := range []struct {
		name string
		f    func()
	}{
		{"geluTanh", func() { GELUTanh(p, y, x) }},
		{"geluTanhGrad", func() { GELUTanhGrad(p, y, x, x) }},
		{"geluErf", func() { GELUErf(p, y, x) }},
		{"exp", func() { Exp(p, y, x) }},
		{"add", func() { Add(p, y, x, x) }},
		{"dropout", func() { Dropout(p, y, x, DropoutArgs{P: 0.1}) }},
		{"dropoutOfHalfRows", func() { Dropout(p, y, x, DropoutArgs{P: 0.1, Cut: halves}) }},
		{"adamW", func() { AdamW(p, y, z, w, x, AdamWArgs{LR: 1e-9, Step: 1, Eps: 1}) }},
		{"sumSquares", func() { SumSquares(p, x) }},
		{"layerNorm", func() { LayerNorm(p, y, z, w, x, x, x, n/256, 256, 1e-5) }},
		{"layerNormGrad", func() { LayerNormGrad(p, y, z, w, x, x, x, x, x, n/256, 256, false) }},
		{"columnSum", func() { ColumnSum(p, y, x, n/256, 256, 256, false) }},
	} {
		b.Run(k.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k.f()
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/n, "ns/element")
		})
	}
}
