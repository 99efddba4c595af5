package kernel

import (
	"cmp"
	"fmt"
)

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

// PairedHeads describes k and v within kv [B, tokens, 2, heads, dim].
func PairedHeads(kv []float32, tokens, heads, dim int) (k, v Heads) {
	part := func(i int) Heads {
		return Heads{kv[min(i*heads*dim, len(kv)):], tokens * 2 * heads * dim, 2 * heads * dim, dim}
	}
	return part(0), part(1)
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
	Causal                bool    // query i sees keys up to i + Keys - Queries + Offset
	Offset                int     // of the queries against the keys in a longer sequence
	Mask                  []int32 // [Batch, Keys], 0 hides a key; nil hides none
	MaskBatch             int     // elements of Mask from one sequence to the next, 0 for Keys

	Q, K, V Heads
	Out     Heads
	// LSE [Batch, Heads, Queries] receives the logarithm of each row's softmax
	// denominator, for the gradient; nil saves none. A row that sees no key
	// has 0 there, or minus infinity with Partial, and zeros as its result.
	LSE []float32

	// Partial says that the queries have other keys too. PrevLSE and PrevOut are
	// then what attention to those gave, which Out and LSE take in; they may be
	// the same memory. A nil PrevLSE stands for no keys.
	Partial bool
	PrevOut Heads
	PrevLSE []float32
}

// AttentionGradArgs describes the gradient of attention: the forward pass's
// arguments with its Out and LSE, and the gradient of Out. With Partial, Out and
// LSE are those of all keys.
type AttentionGradArgs struct {
	AttentionArgs
	DOut       Heads
	DQ, DK, DV Heads // results
	AddDQ      bool  // DQ is added to what is there
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
	case a.MaskBatch < 0 || a.Mask != nil && len(a.Mask) < (a.Batch-1)*a.maskBatch()+a.Keys:
		return fail("mask has %d elements, needs [%d, %d], %d apart", len(a.Mask), a.Batch, a.Keys, a.maskBatch())
	case a.LSE != nil && len(a.LSE) < a.Batch*a.Heads*a.Queries:
		return fail("lse has %d elements, needs [%d, %d, %d]", len(a.LSE), a.Batch, a.Heads, a.Queries)
	case a.PrevLSE != nil && (!a.Partial || a.LSE == nil):
		return fail("a result of other keys is taken in only with Partial, and needs an lse")
	case a.PrevLSE != nil && len(a.PrevLSE) < a.Batch*a.Heads*a.Queries:
		return fail("the lse of other keys has %d elements, needs [%d, %d, %d]", len(a.PrevLSE), a.Batch, a.Heads, a.Queries)
	}
	tensors := []namedHeads{
		{"q", a.Q, a.Queries, a.Heads}, {"k", a.K, a.Keys, a.KVHeads},
		{"v", a.V, a.Keys, a.KVHeads}, {"out", a.Out, a.Queries, a.Heads},
	}
	if a.PrevLSE != nil {
		tensors = append(tensors, namedHeads{"the result of other keys", a.PrevOut, a.Queries, a.Heads})
	}
	return a.checkHeads(tensors)
}

func (a *AttentionArgs) maskBatch() int { return cmp.Or(a.MaskBatch, a.Keys) }

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
