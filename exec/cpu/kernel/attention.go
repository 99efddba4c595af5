package kernel

import "fmt"

// Heads is a tensor [B, T, H, D] within a slice: element (b, t, h, d) is
// Data[b*Batch + t*Token + h*Head + d].
type Heads struct {
	Data               []float32
	Batch, Token, Head int // elements from one to the next
}

// PlainHeads describes x [B, tokens, heads, dim].
func PlainHeads(x []float32, tokens, heads, dim int) Heads {
	return Heads{x, tokens * heads * dim, heads * dim, dim}
}

// PackedHeads describes q, k and v within qkv [B, tokens, 3, heads, dim].
func PackedHeads(qkv []float32, tokens, heads, dim int) (q, k, v Heads) {
	part := func(i int) Heads {
		return Heads{qkv[min(i*heads*dim, len(qkv)):], tokens * 3 * heads * dim, 3 * heads * dim, dim}
	}
	return part(0), part(1), part(2)
}

// from is the data from token t of a head on.
func (x *Heads) from(b, t, h int) []float32 {
	return x.Data[b*x.Batch+t*x.Token+h*x.Head:]
}

// MaxHeadDim is the largest head size D.
const MaxHeadDim = 256

// AttentionArgs describes scaled dot-product attention of all heads: per head,
// softmax(Scale q k^T) v.
//
// With fewer queries than keys, the queries are the last tokens: generation
// against a cache [B, S, KVHeads, D] passes the cache's strides and, for new
// tokens at position pos, Keys = pos + Queries.
type AttentionArgs struct {
	Batch, Heads, KVHeads int // KVHeads divides Heads: that many query heads in a row share a key head
	Queries, Keys, Dim    int // Tq, Tk and D
	Scale                 float32
	Causal                bool    // query i sees keys up to i + Keys - Queries
	Mask                  []int32 // [Batch, Keys], 0 hides a key; nil hides none

	Q, K, V Heads
	Out     Heads
	// LSE [Batch, Heads, Queries] receives the logarithm of each row's softmax
	// denominator, for the gradient; nil saves none. A row that sees no key
	// has 0 there, and zeros as its result.
	LSE []float32
}

// AttentionGradArgs describes the gradient of attention: the forward pass's
// arguments with its Out and LSE, and the gradient of Out.
type AttentionGradArgs struct {
	AttentionArgs
	DOut       Heads
	DQ, DK, DV Heads // results
}

// Check tells whether the shapes fit together and the slices hold them, by a
// [*ShapeError] if not. A caller checks once, when it plans.
func (a *AttentionArgs) Check() error {
	fail := func(format string, args ...any) error {
		return &ShapeError{"attention", fmt.Sprintf(format, args...)}
	}
	switch {
	case a.Batch < 1 || a.Heads < 1 || a.KVHeads < 1 || a.Queries < 1 || a.Keys < 1:
		return fail("a size is below 1: %d sequences, %d and %d heads, %d queries, %d keys", a.Batch, a.Heads, a.KVHeads, a.Queries, a.Keys)
	case a.Dim < 1 || a.Dim > MaxHeadDim:
		return fail("head size %d is not in [1, %d]", a.Dim, MaxHeadDim)
	case a.Heads%a.KVHeads != 0:
		return fail("%d query heads are no multiple of %d key heads", a.Heads, a.KVHeads)
	case a.Mask != nil && len(a.Mask) < a.Batch*a.Keys:
		return fail("mask has %d elements, needs [%d, %d]", len(a.Mask), a.Batch, a.Keys)
	case a.LSE != nil && len(a.LSE) < a.Batch*a.Heads*a.Queries:
		return fail("lse has %d elements, needs [%d, %d, %d]", len(a.LSE), a.Batch, a.Heads, a.Queries)
	}
	return a.checkHeads([]namedHeads{
		{"q", a.Q, a.Queries, a.Heads}, {"k", a.K, a.Keys, a.KVHeads},
		{"v", a.V, a.Keys, a.KVHeads}, {"out", a.Out, a.Queries, a.Heads},
	})
}

// Check is [AttentionArgs.Check] for the gradient's arguments.
func (a *AttentionGradArgs) Check() error {
	if err := a.AttentionArgs.Check(); err != nil {
		return err
	}
	if a.LSE == nil {
		return &ShapeError{"attention", "the gradient needs the forward pass's lse"}
	}
	return a.checkHeads([]namedHeads{
		{"dout", a.DOut, a.Queries, a.Heads}, {"dq", a.DQ, a.Queries, a.Heads},
		{"dk", a.DK, a.Keys, a.KVHeads}, {"dv", a.DV, a.Keys, a.KVHeads},
	})
}

type namedHeads struct {
	name          string
	x             Heads
	tokens, heads int
}

func (a *AttentionArgs) checkHeads(tensors []namedHeads) error {
	for _, t := range tensors {
		need := (a.Batch-1)*t.x.Batch + (t.tokens-1)*t.x.Token + (t.heads-1)*t.x.Head + a.Dim
		if t.x.Batch < 0 || t.x.Token < 0 || t.x.Head < 0 || len(t.x.Data) < need {
			return &ShapeError{"attention", fmt.Sprintf("%s needs %d elements for its strides, has %d", t.name, need, len(t.x.Data))}
		}
	}
	return nil
}

const (
	tileQ = 48  // queries of a tile: columns of a block of scores
	tileK = 128 // keys of a tile: its rows
)

// visible is how many keys the queries before end may see at most.
func (a *AttentionArgs) visible(end int) int {
	if !a.Causal {
		return a.Keys
	}
	return max(0, min(a.Keys, end+a.Keys-a.Queries))
}

// hidden is how many of the queries from q0 on, in a row, cannot see key k.
func (a *AttentionArgs) hidden(q0, k int) int {
	if !a.Causal {
		return 0
	}
	return max(0, k-q0-(a.Keys-a.Queries))
}

// hide sets the scores s [keys, tileQ] of keys from k0 on that queries from q0
// on may not see to minus infinity.
func (a *AttentionArgs) hide(s []float32, b, q0, k0, keys, width int) {
	for j := range keys {
		hidden := min(width, a.hidden(q0, k0+j))
		if a.Mask != nil && a.Mask[b*a.Keys+k0+j] == 0 {
			hidden = width
		}
		copy(s[j*tileQ:][:hidden], minusInf[:])
	}
}

// columns transposes the D-element rows of n tokens into the columns of dst
// [D, tileQ]; what is left of width columns is zero.
func (a *AttentionArgs) columns(in *inner, dst, src []float32, token, n, width int) {
	if n < width {
		clear(dst[:a.Dim*tileQ])
	}
	in.transpose(dst, tileQ, src, token, n, a.Dim)
}
