package kernel

// attentionGradTask computes the gradient of one key head and the query heads
// that share it.
type attentionGradTask struct {
	AttentionGradArgs
	in      *inner
	workers [][]float32
}

// gradTile is the memory of a tile: what belongs to queries from q0 on, n of
// them, of head h, and a block of keys from k0 on.
type gradTile struct {
	b, h, kv, q0, n, width, k0 int

	factor     float32   // of scores
	qt, dot    []float32 // queries and dout, transposed [D, tileQ]
	s, d       []float32 // [keys, tileQ]
	lse, delta []float32 // [tileQ], lse in powers of two
	dk, dv     []float32 // [keys, D]
}

// AttentionGrad is the gradient of [Attention]. It recomputes the
// probabilities p from LSE and, with delta = dout . out per query, sums
//
//	dv = p^T dout, ds = Scale p (dout v^T - delta), dq = ds k, dk = ds^T q
//
// tile by tile. Workers claim key heads of a sequence. With Partial these are
// the parts that the keys given here have in it.
func AttentionGrad(p *Pool, a AttentionGradArgs) {
	t := &p.tasks.backward
	*t = attentionGradTask{a, active.Load(), p.scratch.workers}
	p.run(a.Batch*a.KVHeads, 1, t)
	*t = attentionGradTask{}
}

func (t *attentionGradTask) run(worker, lo, hi int) {
	rest, keys := span(t.workers[worker]), blockKeys(t.Dim)
	g := gradTile{
		qt: rest.cut(t.Dim * tileQ), dot: rest.cut(t.Dim * tileQ),
		s: rest.cut(keys * tileQ), d: rest.cut(keys * tileQ),
		lse: rest.cut(tileQ), delta: rest.cut(tileQ),
		dk: rest.cut(keys * t.Dim), dv: rest.cut(keys * t.Dim),
	}
	for i := lo; i < hi; i++ {
		g.b, g.kv = i/t.KVHeads, i%t.KVHeads
		for g.k0 = 0; g.k0 < t.Keys; g.k0 += keys {
			t.keys(&g, min(keys, t.Keys-g.k0))
		}
	}
}

// keys adds up dk and dv of a block of keys, and its share of dq.
func (t *attentionGradTask) keys(g *gradTile, keys int) {
	clear(g.dk[:keys*t.Dim])
	clear(g.dv[:keys*t.Dim])
	group := t.Heads / t.KVHeads
	for g.h = g.kv * group; g.h < (g.kv+1)*group; g.h++ {
		for g.q0 = 0; g.q0 < t.Queries; g.q0 += tileQ {
			g.n = min(tileQ, t.Queries-g.q0)
			g.width = (g.n + hideStep - 1) &^ (hideStep - 1)
			t.tile(g, min(keys, t.visible(g.q0+g.n)-g.k0))
		}
	}
	t.in.rowScale(t.DK.from(g.b, g.k0, g.kv), t.DK.Token, g.dk, t.Dim, t.Dim, ones[:keys])
	t.in.rowScale(t.DV.from(g.b, g.k0, g.kv), t.DV.Token, g.dv, t.Dim, t.Dim, ones[:keys])
}

// tile does a tile of queries against the first keys of a block.
func (t *attentionGradTask) tile(g *gradTile, keys int) {
	dq := t.DQ.from(g.b, g.q0, g.h)
	if keys <= 0 { // above the diagonal
		for i := 0; g.k0 == 0 && !t.AddDQ && i < g.n; i++ {
			clear(dq[i*t.DQ.Token:][:t.Dim])
		}
		return
	}
	t.load(g)
	q, dout := t.Q.from(g.b, g.q0, g.h), t.DOut.from(g.b, g.q0, g.h)
	k, v := t.K.from(g.b, g.k0, g.kv), t.V.from(g.b, g.k0, g.kv)

	t.scores(t.in, g.s, k, t.K.Token, g.qt, g.b, g.q0, g.k0, keys, g.width)
	t.slopes(g, v, keys)
	t.perKey(t.in, g.dv, g.s, dout, t.DOut.Token, g.q0, g.n, g.k0, keys)
	t.perKey(t.in, g.dk, g.d, q, t.Q.Token, g.q0, g.n, g.k0, keys)
	t.perQuery(t.in, dq, t.DQ.Token, g.d, k, t.K.Token, g.q0, g.n, g.k0, keys, t.AddDQ || g.k0 > 0)
}

// slopes sets s to the probabilities, and d to the gradients of the scores.
func (t *attentionGradTask) slopes(g *gradTile, v []float32, keys int) {
	for j := 0; j < keys; {
		first, end := t.group(g.q0, g.k0, j, keys)
		if first >= g.width {
			return
		}
		s, d := g.s[j*tileQ+first:], g.d[j*tileQ+first:]
		t.in.product(end-j, g.width-first, t.Dim, v[j*t.V.Token:], t.V.Token, 1, g.dot[first:], tileQ, d, tileQ, false)
		t.in.columnGrad(s, d, g.lse[first:g.width], g.delta[first:g.width], tileQ, end-j, g.factor, t.Scale)
		if first > 0 {
			clearEdge(g.d, j, end, first)
		}
		j = end
	}
}

// load transposes the queries and dout of a tile, and computes delta.
func (t *attentionGradTask) load(g *gradTile) {
	q, dout := t.Q.from(g.b, g.q0, g.h), t.DOut.from(g.b, g.q0, g.h)
	t.columns(t.in, g.qt, q, t.Q.Token, g.n, g.width)
	g.factor = t.scoreFactor(t.in, g.qt)
	t.columns(t.in, g.dot, dout, t.DOut.Token, g.n, g.width)
	clear(g.lse)
	clear(g.delta)
	for i, lse := range t.LSE[(g.b*t.Heads+g.h)*t.Queries+g.q0:][:g.n] {
		if lse >= floor { // else no key is seen
			g.lse[i] = lse * log2e
		}
	}
	t.in.pairDots(g.delta[:g.n], dout, t.DOut.Token, t.Out.from(g.b, g.q0, g.h), t.Out.Token, t.Dim)
}
