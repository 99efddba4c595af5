package kernel

import "math"

// floor is where the running maximum of scores starts: finite, so that hidden
// scores, at minus infinity, have weight exp(-inf) = 0 even in a row of them.
const floor = -1e30

// attentionTask computes tiles of queries, each against all keys it sees.
type attentionTask struct {
	AttentionArgs
	in      *inner
	tiles   int // a head
	workers [][]float32
}

// fewQueries is how many queries are still done one by one.
const fewQueries = 4

// Attention computes attention tile by tile with a running softmax, so that no
// [T, T] matrix exists: Dao et al., FlashAttention (2022). Scores are held with
// keys as rows and queries as columns: a vector register holds as many
// queries, and the softmax over keys needs no sums across it. Causal tiles
// above the diagonal are skipped.
func Attention(p *Pool, a AttentionArgs) {
	t := &p.tasks.forward
	*t = attentionTask{AttentionArgs: a, in: active.Load(), workers: p.scratch.workers, tiles: ceil(a.Queries, tileQ)}
	if a.Queries <= fewQueries {
		t.tiles = a.Queries
	}
	heads, grain := a.Batch*a.Heads, 1
	if heads >= 4*p.Threads() {
		grain = t.tiles // a head's keys and values stay in a worker's cache
	}
	p.run(heads*t.tiles, grain, t)
	*t = attentionTask{}
}

func (t *attentionTask) run(worker, lo, hi int) {
	for i := lo; i < hi; i++ {
		head, tile := i/t.tiles, i%t.tiles
		if t.Causal {
			tile = t.tiles - 1 - tile // longest first
		}
		if t.Queries <= fewQueries {
			t.row(t.workers[worker], head/t.Heads, head%t.Heads, tile)
		} else {
			t.tile(t.workers[worker], head/t.Heads, head%t.Heads, tile*tileQ)
		}
	}
}

// queryTile is the memory of a tile: n queries from q0 on of a head.
type queryTile struct {
	b, h, kv, q0, n, width int

	factor    float32   // of scores
	qt        []float32 // queries, transposed [D, tileQ]
	s         []float32 // a block of scores [keys, tileQ]
	o         []float32 // weighted sums of values [tileQ, D]
	most, sum []float32 // of the scores, in powers of two, and of weights [tileQ]
	decay     []float32 // [tileQ]
}

// tile does up to tileQ queries from q0 on of one head.
func (t *attentionTask) tile(buffer []float32, b, h, q0 int) {
	rest := span(buffer)
	keys := blockKeys(t.Dim)
	g := queryTile{b: b, h: h, kv: h / (t.Heads / t.KVHeads), q0: q0, n: min(tileQ, t.Queries-q0)}
	g.width = (g.n + hideStep - 1) &^ (hideStep - 1)
	g.qt, g.s, g.o = rest.cut(t.Dim*tileQ), rest.cut(keys*tileQ), rest.cut(tileQ*t.Dim)
	g.most, g.sum, g.decay = rest.cut(tileQ)[:g.width], rest.cut(tileQ)[:g.width], rest.cut(tileQ)[:g.width]

	t.columns(t.in, g.qt, t.Q.from(b, q0, h), t.Q.Token, g.n, g.width)
	g.factor = t.scoreFactor(t.in, g.qt)
	fill(g.most, floor)
	clear(g.sum)
	end := t.visible(q0 + g.n)
	for k0 := 0; k0 < end; k0 += keys {
		t.keys(&g, k0, min(keys, end-k0))
	}
	if end == 0 {
		clear(g.o)
	}
	t.finish(&g)
}

// keys adds a block of keys from k0 on.
func (t *attentionTask) keys(g *queryTile, k0, keys int) {
	t.scores(t.in, g.s, t.K.from(g.b, k0, g.kv), t.K.Token, g.qt, g.b, g.q0, k0, keys, g.width)
	t.softmax(g, k0, keys)
	if k0 > 0 {
		t.in.rowScale(g.o, t.Dim, g.o, t.Dim, t.Dim, g.decay[:g.n])
	}
	t.perQuery(t.in, g.o, t.Dim, g.s, t.V.from(g.b, k0, g.kv), t.V.Token, g.q0, g.n, k0, keys, k0 > 0)
}

// softmax turns scores into weights, 2^(factor score - most), and sets decay to
// what the new maxima make of the weights of blocks before.
func (t *attentionTask) softmax(g *queryTile, k0, keys int) {
	fill(g.decay, minusInf[0])
	for j := 0; j < keys; {
		first, end := t.group(g.q0, k0, j, keys)
		if first < g.width {
			t.in.columnMax(g.decay[first:], g.s[j*tileQ+first:], tileQ, end-j)
		}
		j = end
	}
	for i, most := range g.decay {
		now := max(g.most[i], g.factor*most)
		g.decay[i], g.most[i] = (g.most[i]-now)*math.Ln2, now
	}
	if k0 > 0 {
		t.in.exp(g.decay, g.decay)
		t.in.mul(g.sum, g.sum, g.decay)
	}
	for j := 0; j < keys; {
		first, end := t.group(g.q0, k0, j, keys)
		if first < g.width {
			t.in.columnPower(g.sum[first:], g.s[j*tileQ+first:], g.most[first:], tileQ, end-j, g.factor)
		}
		j = end
	}
}

// finish divides the weighted sums of values by the sums of weights.
func (t *attentionTask) finish(g *queryTile) {
	if t.PrevLSE != nil {
		t.combine(g)
		return
	}
	inverse := g.decay
	if t.LSE != nil {
		lse := t.LSE[(g.b*t.Heads+g.h)*t.Queries+g.q0:][:g.n]
		t.in.log2(inverse, g.sum)
		for i := range lse {
			lse[i] = (g.most[i] + inverse[i]) * math.Ln2
			if g.sum[i] == 0 {
				lse[i] = t.emptyLSE()
			}
		}
	}
	for i, sum := range g.sum {
		inverse[i] = 0
		if sum != 0 {
			inverse[i] = 1 / sum
		}
	}
	t.in.rowScale(t.Out.from(g.b, g.q0, g.h), t.Out.Token, g.o, t.Dim, t.Dim, inverse[:g.n])
}

// emptyLSE is the LSE of a row that sees no key.
func (t *attentionTask) emptyLSE() float32 {
	if t.Partial {
		return minusInf[0]
	}
	return 0
}

// combine is finish where the queries have a result of other keys already. Of
// two softmaxes each weighs as much as it has of the sum of the denominators:
// the weights are sigmoids of the difference of their logarithms. A row that
// sees no key has the finite floor there.
func (t *attentionTask) combine(g *queryTile) {
	at := (g.b*t.Heads+g.h)*t.Queries + g.q0
	lse, prev := t.LSE[at:][:g.n], t.PrevLSE[at:][:g.n]
	most, weight := g.most, g.decay
	kept, share := g.s[:g.width], g.s[tileQ:][:g.width] // nothing reads the scores any more
	t.in.log2(weight, g.sum)
	for i := range most {
		own, before := float32(floor), float32(floor)
		if g.sum[i] != 0 {
			own = (most[i] + weight[i]) * math.Ln2
		}
		if i < g.n {
			before = max(before, prev[i])
		}
		most[i], weight[i] = max(own, before), max(-maxDifference, min(maxDifference, own-before))
	}
	t.in.sigmoid(weight, weight)
	for i, w := range weight {
		kept[i], share[i] = 1-w, max(w, 1-w)
	}
	t.in.log2(share, share)
	for i := range lse {
		if lse[i] = most[i] - share[i]*math.Ln2; most[i] <= floor {
			lse[i] = minusInf[0]
		}
		if g.sum[i] != 0 {
			weight[i] /= g.sum[i]
		}
	}
	out := t.Out.from(g.b, g.q0, g.h)
	t.in.rowScale(out, t.Out.Token, t.PrevOut.from(g.b, g.q0, g.h), t.PrevOut.Token, t.Dim, kept[:g.n])
	for i := range g.n {
		t.in.axpy(out[i*t.Out.Token:][:t.Dim], g.o[i*t.Dim:][:t.Dim], weight[i])
	}
}

// maxDifference is more than logarithms of denominators differ by where both
// have a weight in float32.
const maxDifference = 64

// rowKeys is how many keys' scores of one query are held.
const rowKeys = 4096

// row does one query of one head: a few queries would leave a tile's columns
// empty. It reads keys and values once each.
func (t *attentionTask) row(buffer []float32, b, h, q int) {
	rest := span(buffer)
	s, o, out := rest.cut(rowKeys), rest.cut(t.Dim), rest.cut(16)
	kv := h / (t.Heads / t.KVHeads)
	query := rest.cut(t.Dim)
	t.in.scale(query, t.Q.from(b, q, h)[:t.Dim], t.Scale)
	most, sum := float32(floor), float32(0) // in powers of two
	clear(o)
	for k0, end := 0, t.visible(q+1); k0 < end; k0 += rowKeys {
		scores := s[:min(rowKeys, end-k0)]
		t.rowScores(scores, out, query, b, kv, k0)
		was := most
		most = max(most, t.in.max(scores)*log2e)
		t.in.powerScale(scores, scores, most, 1)
		decay := float32(math.Exp2(float64(was - most)))
		sum = sum*decay + t.in.sum(scores)
		t.in.scale(o, o, decay)
		t.in.product(1, t.Dim, len(scores), scores, 0, 1, t.V.from(b, k0, kv), t.V.Token, o, t.Dim, true)
	}
	t.finishRow(b, h, q, o, most, sum)
}

// finishRow divides the weighted sum o of a row of values by the sum of
// weights, and combines it as combine does.
func (t *attentionTask) finishRow(b, h, q int, o []float32, most, sum float32) {
	inverse, lse := float32(0), t.emptyLSE()
	if sum > 0 || sum != sum {
		inverse, lse = 1/sum, float32((float64(most)+math.Log2(float64(sum)))*math.Ln2)
	}
	out, i := t.Out.from(b, q, h)[:t.Dim], (b*t.Heads+h)*t.Queries+q
	if t.PrevLSE != nil {
		own, before := max(floor, float64(lse)), max(floor, float64(t.PrevLSE[i]))
		weight := 1 / (1 + math.Exp(before-own))
		t.in.scale(out, t.PrevOut.from(b, q, h)[:t.Dim], float32(1-weight))
		t.in.axpy(out, o, inverse*float32(weight))
		if t.LSE[i] = float32(max(own, before) - math.Log(max(weight, 1-weight))); max(own, before) <= floor {
			t.LSE[i] = minusInf[0]
		}
		return
	}
	t.in.scale(out, o, inverse)
	if t.LSE != nil {
		t.LSE[i] = lse
	}
}

// rowScores sets s to a query's products with the keys from k0 on, those that are
// masked to minus infinity.
func (t *attentionTask) rowScores(s, out, query []float32, b, kv, k0 int) {
	for j := 0; j < len(s); j += dotColumns {
		n := min(dotColumns, len(s)-j)
		t.in.rowDots(out, t.Dim, query, t.Dim, 1, t.K.from(b, k0+j, kv), t.K.Token, n)
		copy(s[j:], out[:n])
	}
	for j := range s {
		if t.Mask != nil && t.Mask[b*t.maskBatch()+k0+j] == 0 {
			s[j] = minusInf[0]
		}
	}
}

// span is scratch memory that slices are cut off.
type span []float32

// cut takes n elements, and leaves a multiple of 16.
func (s *span) cut(n int) []float32 {
	x := (*s)[:n:n]
	*s = (*s)[(n+15)&^15:]
	return x
}
