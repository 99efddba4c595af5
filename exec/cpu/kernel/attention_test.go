package kernel

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// sees tells whether query i of sequence b may see key j.
func (a *AttentionArgs) sees(b, i, j int) bool {
	if a.Causal && j > i+a.Keys-a.Queries+a.Offset {
		return false
	}
	return a.Mask == nil || a.Mask[b*a.maskBatch()+j] != 0
}

// probabilities is one row of the softmax in float64, and the logarithm of its
// denominator.
func (a *AttentionArgs) probabilities(b, h, i int) ([]float64, float64) {
	p := make([]float64, a.Keys)
	q := a.Q.from(b, i, h)[:a.Dim]
	most := math.Inf(-1)
	for j := range p {
		for d, v := range a.K.from(b, j, h*a.KVHeads/a.Heads)[:a.Dim] {
			p[j] += float64(a.Scale) * float64(q[d]) * float64(v)
		}
		if a.sees(b, i, j) {
			most = max(most, p[j])
		}
	}
	var sum float64
	for j := range p {
		if a.sees(b, i, j) {
			p[j] = math.Exp(p[j] - most)
			sum += p[j]
		} else {
			p[j] = 0
		}
	}
	if sum == 0 {
		return p, 0
	}
	for j := range p {
		p[j] /= sum
	}
	return p, most + math.Log(sum)
}

// plainAttention is attention row by row, [B, T, H, D] and [B, H, T].
func plainAttention(a AttentionArgs) (out, lse []float64) {
	out = make([]float64, a.Batch*a.Queries*a.Heads*a.Dim)
	lse = make([]float64, a.Batch*a.Heads*a.Queries)
	for n := range lse {
		b, h, i := n/(a.Heads*a.Queries), n/a.Queries%a.Heads, n%a.Queries
		p, l := a.probabilities(b, h, i)
		lse[n] = l
		row := out[((b*a.Queries+i)*a.Heads+h)*a.Dim:]
		for j, w := range p {
			for d, v := range a.V.from(b, j, h*a.KVHeads/a.Heads)[:a.Dim] {
				row[d] += w * float64(v)
			}
		}
	}
	return out, lse
}

// plainAttentionGrad is the gradient row by row, plainly laid out.
func plainAttentionGrad(a AttentionGradArgs) (dq, dk, dv []float64) {
	dq = make([]float64, a.Batch*a.Queries*a.Heads*a.Dim)
	dk = make([]float64, a.Batch*a.Keys*a.KVHeads*a.Dim)
	dv = make([]float64, len(dk))
	for n := range a.Batch * a.Heads * a.Queries {
		b, h, i := n/(a.Heads*a.Queries), n/a.Queries%a.Heads, n%a.Queries
		kv := h * a.KVHeads / a.Heads
		p, _ := a.probabilities(b, h, i)
		dout, q := a.DOut.from(b, i, h)[:a.Dim], a.Q.from(b, i, h)
		dp, delta := make([]float64, a.Keys), 0.0
		for j := range dp {
			for d, v := range a.V.from(b, j, kv)[:a.Dim] {
				dp[j] += float64(dout[d]) * float64(v)
			}
			delta += p[j] * dp[j]
		}
		for j := range dp {
			ds := float64(a.Scale) * p[j] * (dp[j] - delta)
			for d := range a.Dim {
				key := ((b*a.Keys+j)*a.KVHeads+kv)*a.Dim + d
				dq[((b*a.Queries+i)*a.Heads+h)*a.Dim+d] += ds * float64(a.K.from(b, j, kv)[d])
				dk[key] += ds * float64(q[d])
				dv[key] += p[j] * float64(dout[d])
			}
		}
	}
	return dq, dk, dv
}

// drawAttention draws shapes and operands; queries is 0 for any number.
func drawAttention(t *rapid.T, queries int) AttentionGradArgs {
	x := random(t)
	a := AttentionGradArgs{}
	a.Batch, a.KVHeads = rapid.IntRange(1, 2).Draw(t, "batch"), rapid.IntRange(1, 2).Draw(t, "kvHeads")
	a.Heads = a.KVHeads * rapid.IntRange(1, 2).Draw(t, "group")
	a.Dim = rapid.OneOf(rapid.SampledFrom([]int{16, 20, 32, 64}), rapid.IntRange(1, 40)).Draw(t, "dim")
	a.Queries, a.Keys = queries, size(200).Draw(t, "keys")
	if rapid.IntRange(0, 19).Draw(t, "several blocks of keys") == 7 {
		a.Keys = rapid.IntRange(257, 300).Draw(t, "many keys")
	}
	if queries == 0 {
		a.Queries = rapid.OneOf(rapid.Just(a.Keys), size(130)).Draw(t, "queries")
	}
	a.Causal = rapid.Bool().Draw(t, "causal")
	if rapid.Bool().Draw(t, "offset") {
		a.Offset = rapid.IntRange(-a.Keys-2, a.Queries+2).Draw(t, "by")
	}
	a.Scale = float32(1 / math.Sqrt(float64(a.Dim)))
	if rapid.Bool().Draw(t, "masked") {
		for range a.Batch * a.Keys {
			a.Mask = append(a.Mask, int32(rapid.IntRange(0, 2).Draw(t, "mask")))
		}
		if rapid.Bool().Draw(t, "hideAll") {
			clear(a.Mask[:a.Keys])
		}
	}
	q, kv := a.Batch*a.Queries*a.Heads*a.Dim, a.Batch*a.Keys*a.KVHeads*a.Dim
	plain := func(n, tokens, heads int) Heads { return PlainHeads(x(n), tokens, heads, a.Dim) }
	a.Q, a.Out, a.DOut, a.DQ = plain(q, a.Queries, a.Heads), plain(q, a.Queries, a.Heads), plain(q, a.Queries, a.Heads), plain(q, a.Queries, a.Heads)
	a.K, a.V, a.DK, a.DV = plain(kv, a.Keys, a.KVHeads), plain(kv, a.Keys, a.KVHeads), plain(kv, a.Keys, a.KVHeads), plain(kv, a.Keys, a.KVHeads)
	if a.Heads == a.KVHeads && a.Queries == a.Keys && rapid.Bool().Draw(t, "packed") {
		a.Q, a.K, a.V = PackedHeads(x(3*q), a.Keys, a.Heads, a.Dim)
		a.DQ, a.DK, a.DV = PackedHeads(x(3*q), a.Keys, a.Heads, a.Dim)
	}
	a.LSE = x(a.Batch * a.Heads * a.Queries)
	return a
}

// gather copies a tensor to [B, T, H, D].
func gather(x Heads, batch, tokens, heads, dim int) (y []float32) {
	for i := range batch * tokens * heads {
		y = append(y, x.from(i/(tokens*heads), i/heads%tokens, i%heads)[:dim]...)
	}
	return y
}

func testAttention(t *testing.T, queries func(t *rapid.T) int) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		a := drawAttention(t, queries(t))
		if err := a.Check(); err != nil {
			t.Fatal(err)
		}
		run := func(p *Pool) [][]float32 {
			Attention(p, a.AttentionArgs)
			AttentionGrad(p, a)
			return [][]float32{
				slices.Clone(a.LSE), slices.Clone(a.Out.Data),
				gather(a.DQ, a.Batch, a.Queries, a.Heads, a.Dim),
				gather(a.DK, a.Batch, a.Keys, a.KVHeads, a.Dim), gather(a.DV, a.Batch, a.Keys, a.KVHeads, a.Dim),
			}
		}
		return run, func(t *rapid.T, got [][]float32) {
			out, lse := plainAttention(a.AttentionArgs)
			near(t, "lse", got[0], lse, 3e-6, 1)
			near(t, "out", got[1], out, 5e-6, 1)
			dq, dk, dv := plainAttentionGrad(a)
			near(t, "dq", got[2], dq, 2e-5, 1)
			near(t, "dk", got[3], dk, 2e-5, 4)
			near(t, "dv", got[4], dv, 2e-5, 4)
		}
	})
}

func TestAttention(t *testing.T) {
	testAttention(t, func(*rapid.T) int { return 0 })
}

func TestAttentionFewQueries(t *testing.T) {
	testAttention(t, func(t *rapid.T) int { return rapid.IntRange(1, fewQueries+1).Draw(t, "few") })
}

// blocks cuts the keys of a into up to four blocks of any size, in any order.
func (a AttentionGradArgs) blocks(t *rapid.T) []AttentionGradArgs {
	cuts := []int{0, a.Keys}
	for range rapid.IntRange(0, 3).Draw(t, "cuts") {
		cuts = append(cuts, rapid.IntRange(1, a.Keys).Draw(t, "cut"))
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var blocks []AttentionGradArgs
	for i, from := range cuts[:len(cuts)-1] {
		b := a
		b.Partial, b.Keys = true, cuts[i+1]-from
		b.Offset += a.Keys - b.Keys - from
		if a.Mask != nil {
			b.Mask, b.MaskBatch = a.Mask[from:], a.Keys
		}
		for _, x := range []*Heads{&b.K, &b.V, &b.DK, &b.DV} {
			x.Data = x.Data[from*x.Token:]
		}
		blocks = append(blocks, b)
	}
	return rapid.Permutation(blocks).Draw(t, "order")
}

// testAttentionBlocks computes attention to one block of keys after the other,
// and finds what attention to all gives. The queries' gradients are added to
// what is there.
func testAttentionBlocks(t *testing.T, queries func(t *rapid.T) int) {
	check(t, func(t *rapid.T) (func(p *Pool) [][]float32, func(t *rapid.T, got [][]float32)) {
		whole := drawAttention(t, queries(t))
		blocks := whole.blocks(t)
		inPlace := rapid.Bool().Draw(t, "in place")
		run := func(p *Pool) [][]float32 {
			var prev AttentionGradArgs
			for i, a := range blocks {
				if a.PrevOut, a.PrevLSE = prev.Out, prev.LSE; i > 0 && !inPlace {
					a.Out.Data, a.LSE = make([]float32, len(a.Out.Data)), make([]float32, len(a.LSE))
				}
				if err := a.Check(); err != nil {
					t.Fatal(err)
				}
				Attention(p, a.AttentionArgs)
				prev = a
			}
			fill(whole.DQ.Data, 1)
			for _, a := range blocks {
				a.Out, a.LSE, a.AddDQ = prev.Out, prev.LSE, true
				AttentionGrad(p, a)
			}
			a := whole
			return [][]float32{
				slices.Clone(prev.LSE), slices.Clone(prev.Out.Data),
				gather(a.DQ, a.Batch, a.Queries, a.Heads, a.Dim),
				gather(a.DK, a.Batch, a.Keys, a.KVHeads, a.Dim), gather(a.DV, a.Batch, a.Keys, a.KVHeads, a.Dim),
			}
		}
		return run, func(t *rapid.T, got [][]float32) {
			a := whole
			out, lse := plainAttention(a.AttentionArgs)
			for n := range lse {
				if b, i := n/(a.Heads*a.Queries), n%a.Queries; !a.seesAny(b, i) {
					if lse[n] = 0; got[0][n] != minusInf[0] {
						t.Fatalf("lse: element %d is %g, though the query sees no key", n, got[0][n])
					}
					got[0][n] = 0
				}
			}
			near(t, "lse", got[0], lse, 6e-6, 1)
			near(t, "out", got[1], out, 1e-5, 1)
			dq, dk, dv := plainAttentionGrad(a)
			for i := range dq {
				dq[i]++
			}
			near(t, "dq", got[2], dq, 4e-5, 1)
			near(t, "dk", got[3], dk, 4e-5, 4)
			near(t, "dv", got[4], dv, 4e-5, 4)
		}
	})
}

// seesAny tells whether query i of sequence b sees any key.
func (a *AttentionArgs) seesAny(b, i int) bool {
	for j := range a.Keys {
		if a.sees(b, i, j) {
			return true
		}
	}
	return false
}

func TestAttentionBlocks(t *testing.T) {
	testAttentionBlocks(t, func(*rapid.T) int { return 0 })
}

func TestAttentionBlocksFewQueries(t *testing.T) {
	testAttentionBlocks(t, func(t *rapid.T) int { return rapid.IntRange(1, fewQueries+1).Draw(t, "few") })
}

// TestAttentionBlocksFarApart combines blocks whose scores differ by more than
// float32 has exponents: the larger wins, without a NaN.
func TestAttentionBlocksFarApart(t *testing.T) {
	p := NewPool(1)
	defer p.Close()
	for _, queries := range []int{1, 20} {
		for _, sign := range []float32{1, -1} {
			x := func(v float32) Heads {
				y := make([]float32, queries)
				fill(y, v)
				return PlainHeads(y, queries, 1, 1)
			}
			a := AttentionArgs{Batch: 1, Heads: 1, KVHeads: 1, Queries: queries, Keys: queries, Dim: 1, Scale: 1, Partial: true, Q: x(1000), Out: x(0), LSE: make([]float32, queries)}
			a.K, a.V = x(sign), x(1)
			Attention(p, a)
			a.K, a.V, a.PrevOut, a.PrevLSE = x(-sign), x(2), a.Out, a.LSE
			Attention(p, a)
			if out, lse := a.Out.Data[queries-1], a.LSE[queries-1]; out != max(1, 1.5-0.5*sign) || math.Abs(float64(lse)-1000-math.Log(float64(queries))) > 1e-3 {
				t.Errorf("%d queries: result %g, lse %g", queries, out, lse)
			}
		}
	}
}

// TestAttentionCache decodes token by token against a cache longer than what
// is filled, and finds what attention over the whole sequence gives.
func TestAttentionCache(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	const tokens, capacity, heads, kvHeads, dim = 9, 16, 4, 2, 8
	x := func(n int) []float32 {
		y := make([]float32, n)
		for i := range y {
			y[i] = float32(math.Sin(float64(3*i + n)))
		}
		return y
	}
	whole := AttentionArgs{Batch: 2, Heads: heads, KVHeads: kvHeads, Queries: tokens, Keys: tokens, Dim: dim, Scale: 0.5, Causal: true}
	whole.Q = PlainHeads(x(2*tokens*heads*dim), tokens, heads, dim)
	whole.K, whole.V = PlainHeads(x(2*capacity*kvHeads*dim), capacity, kvHeads, dim), PlainHeads(x(2*capacity*kvHeads*dim+1), capacity, kvHeads, dim)
	whole.Out = PlainHeads(x(2*tokens*heads*dim), tokens, heads, dim)
	Attention(p, whole)
	for pos := range tokens {
		a := whole
		a.Queries, a.Keys = 1, pos+1
		a.Q.Data = a.Q.Data[pos*a.Q.Token:]
		a.Out = PlainHeads(x(2*heads*dim), 1, heads, dim)
		Attention(p, a)
		for b := range 2 {
			for h := range heads {
				got, want := a.Out.from(b, 0, h)[:dim], whole.Out.from(b, pos, h)[:dim]
				for d := range got {
					if math.Abs(float64(got[d]-want[d])) > 1e-6 {
						t.Fatalf("position %d, head %d: %v, want %v", pos, h, got, want)
					}
				}
			}
		}
	}
}

func TestAttentionCheck(t *testing.T) {
	good := AttentionGradArgs{AttentionArgs: AttentionArgs{Batch: 1, Heads: 2, KVHeads: 1, Queries: 3, Keys: 3, Dim: 4}}
	x := func(heads int) Heads { return PlainHeads(make([]float32, 3*heads*4), 3, heads, 4) }
	good.Q, good.Out, good.DOut, good.DQ = x(2), x(2), x(2), x(2)
	good.K, good.V, good.DK, good.DV = x(1), x(1), x(1), x(1)
	good.LSE = make([]float32, 6)
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(a *AttentionGradArgs){
		"no heads":   func(a *AttentionGradArgs) { a.Heads = 0 },
		"wide head":  func(a *AttentionGradArgs) { a.Dim = MaxHeadDim + 1 },
		"group":      func(a *AttentionGradArgs) { a.KVHeads = 3 },
		"short mask": func(a *AttentionGradArgs) { a.Mask = make([]int32, 2) },
		"short lse":  func(a *AttentionGradArgs) { a.LSE = a.LSE[:5] },
		"apart":      func(a *AttentionGradArgs) { a.Mask, a.MaskBatch = make([]int32, 3), -1 },
		"whole prev": func(a *AttentionGradArgs) { a.PrevOut, a.PrevLSE = a.Out, a.LSE },
		"short prev": func(a *AttentionGradArgs) { a.Partial, a.PrevLSE = true, a.LSE },
		"no lse":     func(a *AttentionGradArgs) { a.LSE = nil },
		"short q":    func(a *AttentionGradArgs) { a.Q.Data = a.Q.Data[:23] },
		"short dv":   func(a *AttentionGradArgs) { a.DV.Data = a.DV.Data[:11] },
	} {
		a := good
		spoil(&a)
		var shape *ShapeError
		if err := a.Check(); !errors.As(err, &shape) {
			t.Errorf("%s: error is %v, want a ShapeError", name, err)
		}
	}
}

// BenchmarkAttentionBlocks attends to keys in blocks of as many as there are
// queries, as a rank of a ring does, and to all at once.
func BenchmarkAttentionBlocks(b *testing.B) {
	const batch, heads, queries, blocks, dim = 1, 12, 256, 4, 64
	p := NewPool(1)
	defer p.Close()
	x := func(tokens int) Heads {
		y := Alloc(batch * tokens * heads * dim)
		for i := range y {
			y[i] = float32(math.Sin(float64(i)))
		}
		return PlainHeads(y, tokens, heads, dim)
	}
	for _, n := range []int{1, blocks} {
		keys := queries * blocks / n
		a := AttentionGradArgs{AttentionArgs: AttentionArgs{Batch: batch, Heads: heads, KVHeads: heads, Queries: queries, Keys: keys, Dim: dim, Scale: 0.125}}
		a.Q, a.Out, a.DOut, a.DQ = x(queries), x(queries), x(queries), x(queries)
		a.K, a.V, a.DK, a.DV = x(keys), x(keys), x(keys), x(keys)
		a.LSE, a.Partial = make([]float32, batch*heads*queries), n > 1
		flops := batch * heads * queries * queries * blocks * dim * 2
		b.Run(fmt.Sprintf("blocks=%d/forward", n), func(b *testing.B) {
			for b.Loop() {
				for i := range n {
					a := a.AttentionArgs
					if i > 0 {
						a.PrevOut, a.PrevLSE = a.Out, a.LSE
					}
					Attention(p, a)
				}
			}
			report(b, 2*flops)
		})
		b.Run(fmt.Sprintf("blocks=%d/backward", n), func(b *testing.B) {
			for b.Loop() {
				for i := range n {
					a.AddDQ = i > 0
					AttentionGrad(p, a)
				}
			}
			report(b, 5*flops)
		})
	}
}

func BenchmarkAttention(b *testing.B) {
	const batch, heads = 8, 4
	for _, threads := range []int{1, 2} {
		for _, shape := range [][2]int{{64, 64}, {256, 64}, {1024, 64}, {256, 128}} {
			tokens, dim := shape[0], shape[1]
			p := NewPool(threads)
			defer p.Close()
			n := batch * tokens * heads * dim
			a := AttentionGradArgs{AttentionArgs: AttentionArgs{Batch: batch, Heads: heads, KVHeads: heads, Queries: tokens, Keys: tokens, Dim: dim, Scale: 0.125, Causal: true}}
			qkv, dqkv := Alloc(3*n), Alloc(3*n)
			for i := range qkv {
				qkv[i] = float32(math.Sin(float64(i)))
			}
			a.Q, a.K, a.V = PackedHeads(qkv, tokens, heads, dim)
			a.DQ, a.DK, a.DV = PackedHeads(dqkv, tokens, heads, dim)
			a.Out, a.DOut = PlainHeads(Alloc(n), tokens, heads, dim), PlainHeads(Alloc(n), tokens, heads, dim)
			a.LSE = make([]float32, batch*heads*tokens)
			// Products of the causal half, or as it is counted for a full
			// matrix, half of 2 or 5 products.
			flops := batch * heads * tokens * (tokens + 1) / 2 * dim * 2
			name := fmt.Sprintf("threads=%d/B=%d,H=%d,T=%d,D=%d", threads, batch, heads, tokens, dim)
			b.Run(name+"/forward", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Attention(p, a.AttentionArgs)
				}
				report(b, 2*flops)
			})
			b.Run(name+"/backward", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					AttentionGrad(p, a)
				}
				report(b, 5*flops)
			})
		}
	}
}
