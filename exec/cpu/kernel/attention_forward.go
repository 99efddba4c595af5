package kernel

import "math"

// floor is where the running maximum of scores starts: finite, so that hidden
// scores, at minus infinity, have weight exp(-inf) = 0 even in a row of them.
const floor = -1e30

var minusInf = func() (x [tileQ]float32) {
	fill(x[:], float32(math.Inf(-1)))
	return x
}()

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
	p.run(a.Batch*a.Heads*t.tiles, 1, t)
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

// tile does up to tileQ queries from q0 on of one head.
func (t *attentionTask) tile(buffer []float32, b, h, q0 int) {
	rest := span(buffer)
	n := min(tileQ, t.Queries-q0)
	width := (n + 15) &^ 15
	qt, s, o := rest.cut(t.Dim*tileQ), rest.cut(tileK*tileQ), rest.cut(tileQ*t.Dim)
	most, sum, decay := rest.cut(tileQ)[:width], rest.cut(tileQ)[:width], rest.cut(tileQ)[:width]
	kv := h / (t.Heads / t.KVHeads)

	t.columns(t.in, qt, t.Q.from(b, q0, h), t.Q.Token, n, width)
	t.in.scale(qt, qt, t.Scale)
	fill(most, floor)
	clear(sum)
	end := t.visible(q0 + n)
	for k0 := 0; k0 < end; k0 += tileK {
		keys := min(tileK, end-k0)
		t.keyScores(t.in, s, t.K.from(b, k0, kv), qt, q0, k0, keys, width)
		t.hide(s, b, q0, k0, keys, width)
		copy(decay, most)
		t.in.columnMax(most, s, tileQ, keys)
		t.in.axpy(decay, most, -1)
		t.in.exp(decay, decay)
		t.in.mul(sum, sum, decay)
		t.in.columnExp(sum, s, most, tileQ, keys)
		for i := 0; k0 > 0 && i < n; i++ {
			row := o[i*t.Dim:][:t.Dim]
			t.in.scale(row, row, decay[i])
		}
		t.perQuery(t.in, o, t.Dim, s, t.V.from(b, k0, kv), t.V.Token, q0, n, k0, keys)
	}
	if end == 0 {
		clear(o)
	}
	for i := range n {
		t.finish(b, h, q0+i, o[i*t.Dim:][:t.Dim], most[i], sum[i])
	}
}

// finish divides the weighted sum o of a row of values by the sum of weights.
func (t *attentionTask) finish(b, h, q int, o []float32, most, sum float32) {
	var inverse, lse float32
	if sum > 0 || sum != sum {
		inverse, lse = 1/sum, float32(float64(most)+math.Log(float64(sum)))
	}
	t.in.scale(t.Out.from(b, q, h)[:t.Dim], o, inverse)
	if t.LSE != nil {
		t.LSE[(b*t.Heads+h)*t.Queries+q] = lse
	}
}

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
	most, sum := float32(floor), float32(0)
	clear(o)
	for k0, end := 0, t.visible(q+1); k0 < end; k0 += rowKeys {
		scores := s[:min(rowKeys, end-k0)]
		t.scores(scores, out, query, b, kv, k0)
		was := most
		most = max(most, t.in.max(scores))
		t.in.expScale(scores, scores, most, 1)
		decay := float32(math.Exp(float64(was - most)))
		sum = sum*decay + t.in.sum(scores)
		t.in.scale(o, o, decay)
		t.in.multiply(1, t.Dim, len(scores), scores, 0, 1, t.V.from(b, k0, kv), t.V.Token, o, t.Dim, true)
	}
	t.finish(b, h, q, o, most, sum)
}

// scores sets s to a query's products with the keys from k0 on, those that are
// masked to minus infinity.
func (t *attentionTask) scores(s, out, query []float32, b, kv, k0 int) {
	for j := 0; j < len(s); j += dotColumns {
		n := min(dotColumns, len(s)-j)
		t.in.rowDots(out, t.Dim, query, t.Dim, 1, t.K.from(b, k0+j, kv), t.K.Token, n)
		copy(s[j:], out[:n])
	}
	for j := range s {
		if t.Mask != nil && t.Mask[b*t.Keys+k0+j] == 0 {
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
