package probe

import (
	"math"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
)

// Attention is causal attention of heads of width Dim over Tokens, and its
// gradient.
type Attention struct {
	Batch, Heads, Tokens, Dim int

	forward  kernel.AttentionArgs
	backward kernel.AttentionGradArgs
}

// NewAttention takes the operands of b sequences of t tokens, with h heads of
// width d.
func NewAttention(a *Arena, b, h, t, d int) *Attention {
	q, k, v := kernel.PackedHeads(a.Floats(3*b*t*h*d), t, h, d)
	dq, dk, dv := kernel.PackedHeads(a.Floats(3*b*t*h*d), t, h, d)
	plain := func() kernel.Heads { return kernel.PlainHeads(a.Floats(b*t*h*d), t, h, d) }
	forward := kernel.AttentionArgs{
		Batch: b, Heads: h, KVHeads: h, Queries: t, Keys: t, Dim: d, Scale: float32(1 / math.Sqrt(float64(d))), Causal: true,
		Q: q, K: k, V: v, Out: plain(), LSE: a.Floats(b * h * t),
	}
	return &Attention{b, h, t, d, forward, kernel.AttentionGradArgs{AttentionArgs: forward, DOut: plain(), DQ: dq, DK: dk, DV: dv}}
}

// product counts the operations of one product with the scores: of pairs of a
// query and a key that it sees.
func (a *Attention) product() int64 {
	return 2 * int64(a.Dim) * int64(a.Batch*a.Heads) * int64(a.Tokens*(a.Tokens+1)/2)
}

// ForwardFLOPs counts two products.
func (a *Attention) ForwardFLOPs() int64 { return 2 * a.product() }

// BackwardFLOPs counts five products, one of which computes the scores again.
func (a *Attention) BackwardFLOPs() int64 { return 5 * a.product() }

// Forward computes attention.
func (a *Attention) Forward(p *kernel.Pool) { kernel.Attention(p, a.forward) }

// Backward computes the gradient, after Forward.
func (a *Attention) Backward(p *kernel.Pool) { kernel.AttentionGrad(p, a.backward) }
