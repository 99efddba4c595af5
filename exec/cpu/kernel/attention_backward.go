package kernel

// attentionGradTask computes the gradient of one key head and the query heads
// that share it.
type attentionGradTask struct {
	AttentionGradArgs
	in      *inner
	workers [][]float32
}

// gradTile is the memory of a tile: what belongs to queries from q0 on, n of
// them, of head h, and keys from k0 on.
type gradTile struct {
	b, h, kv, q0, n, width, k0 int

	qt, dot    []float32 // scaled queries and dout, transposed [D, tileQ]
	s, d       []float32 // [tileK, tileQ]
	lse, delta []float32 // [tileQ]
	dk, dv     []float32 // [tileK, D]
}

// AttentionGrad is the gradient of [Attention]. It recomputes the
// probabilities p from LSE and, with delta = dout . out per query, sums
//
//	dv = p^T dout, ds = Scale p (dout v^T - delta), dq = ds k, dk = ds^T q
//
// tile by tile. Workers claim key heads of a sequence.
func AttentionGrad(p *Pool, a AttentionGradArgs) {
	t := &p.tasks.backward
	*t = attentionGradTask{a, active.Load(), p.scratch.workers}
	p.run(a.Batch*a.KVHeads, 1, t)
	*t = attentionGradTask{}
}

func (t *attentionGradTask) run(worker, lo, hi int) {
	rest := span(t.workers[worker])
	g := gradTile{
		qt: rest.cut(t.Dim * tileQ), dot: rest.cut(t.Dim * tileQ),
		s: rest.cut(tileK * tileQ), d: rest.cut(tileK * tileQ),
		lse: rest.cut(tileQ), delta: rest.cut(tileQ),
		dk: rest.cut(tileK * t.Dim), dv: rest.cut(tileK * t.Dim),
	}
	for i := lo; i < hi; i++ {
		g.b, g.kv = i/t.KVHeads, i%t.KVHeads
		for g.k0 = 0; g.k0 < t.Keys; g.k0 += tileK {
			t.keys(&g)
		}
	}
}

// keys adds up dk and dv of a tile of keys, and its share of dq.
func (t *attentionGradTask) keys(g *gradTile) {
	n := min(tileK, t.Keys-g.k0)
	clear(g.dk[:n*t.Dim])
	clear(g.dv[:n*t.Dim])
	group := t.Heads / t.KVHeads
	for g.h = g.kv * group; g.h < (g.kv+1)*group; g.h++ {
		for g.q0 = 0; g.q0 < t.Queries; g.q0 += tileQ {
			g.n = min(tileQ, t.Queries-g.q0)
			g.width = (g.n + 15) &^ 15
			t.tile(g, min(n, t.visible(g.q0+g.n)-g.k0))
		}
	}
	for j := range n {
		copy(t.DK.from(g.b, g.k0+j, g.kv)[:t.Dim], g.dk[j*t.Dim:])
		copy(t.DV.from(g.b, g.k0+j, g.kv)[:t.Dim], g.dv[j*t.Dim:])
	}
}

// tile does a tile of queries against the first keys of a tile of keys.
func (t *attentionGradTask) tile(g *gradTile, keys int) {
	if keys <= 0 { // above the diagonal
		for i := 0; g.k0 == 0 && i < g.n; i++ {
			clear(t.DQ.from(g.b, g.q0+i, g.h)[:t.Dim])
		}
		return
	}
	t.load(g)
	q, dout := t.Q.from(g.b, g.q0, g.h), t.DOut.from(g.b, g.q0, g.h)
	k, v := t.K.from(g.b, g.k0, g.kv), t.V.from(g.b, g.k0, g.kv)
	in, dim := t.in, t.Dim

	t.keyScores(in, g.s, k, g.qt, g.q0, g.k0, keys, g.width)
	t.hide(g.s, g.b, g.q0, g.k0, keys, g.width)
	in.multiply(keys, g.width, dim, v, t.V.Token, 1, g.dot, tileQ, g.d, tileQ, false)
	in.columnGrad(g.s, g.d, g.lse[:g.width], g.delta[:g.width], tileQ, keys, t.Scale)

	t.perKey(in, g.dv, g.s, dout, t.DOut.Token, g.q0, g.n, g.k0, keys)
	t.perKey(in, g.dk, g.d, q, t.Q.Token, g.q0, g.n, g.k0, keys)
	t.perQuery(in, t.DQ.from(g.b, g.q0, g.h), t.DQ.Token, g.d, k, t.K.Token, g.q0, g.n, g.k0, keys)
}

// load transposes the queries and dout of a tile, and computes delta.
func (t *attentionGradTask) load(g *gradTile) {
	q, dout := t.Q.from(g.b, g.q0, g.h), t.DOut.from(g.b, g.q0, g.h)
	t.columns(t.in, g.qt, q, t.Q.Token, g.n, g.width)
	t.in.scale(g.qt, g.qt, t.Scale)
	t.columns(t.in, g.dot, dout, t.DOut.Token, g.n, g.width)
	clear(g.lse)
	clear(g.delta)
	copy(g.lse, t.LSE[(g.b*t.Heads+g.h)*t.Queries+g.q0:][:g.n])
	for i := range g.n {
		g.delta[i] = t.in.dot(t.DOut.from(g.b, g.q0+i, g.h)[:t.Dim], t.Out.from(g.b, g.q0+i, g.h)[:t.Dim])
	}
}
