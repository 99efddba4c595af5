package cpu

import (
	"fmt"
	"math"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// attentionShape is attention's arguments but for memory, out being [B, T, H, D].
func attentionShape(s graph.Attention, out graph.Type, operands []graph.Type) (kernel.AttentionArgs, error) {
	a := kernel.AttentionArgs{
		Batch: out.Shape[0], Queries: out.Shape[1], Keys: out.Shape[1],
		Heads: out.Shape[2], KVHeads: out.Shape[2], Dim: out.Shape[3],
		Scale: float32(1 / math.Sqrt(float64(out.Shape[3]))), Causal: s.Causal,
	}
	if !s.Packed {
		a.KVHeads = operands[1].Shape[2]
	}
	if a.Dim > kernel.MaxHeadDim {
		return a, fmt.Errorf("heads of size %d: the CPU's kernel takes up to %d", a.Dim, kernel.MaxHeadDim)
	}
	return a, nil
}

// headsOf gives q, k and v within operands, or gradients laid out as they are.
func headsOf(s graph.Attention, a *kernel.AttentionArgs, x [][]float32) (q, k, v kernel.Heads) {
	if s.Packed {
		return kernel.PackedHeads(x[0], a.Queries, a.Heads, a.Dim)
	}
	plain := func(x []float32, heads int) kernel.Heads { return kernel.PlainHeads(x, a.Queries, heads, a.Dim) }
	return plain(x[0], a.Heads), plain(x[1], a.KVHeads), plain(x[2], a.KVHeads)
}

// scoreFLOPs counts one product with the matrix of scores.
func scoreFLOPs(a kernel.AttentionArgs) int64 {
	n := flops(a.Batch, a.Heads, a.Queries, a.Keys, a.Dim)
	if a.Causal {
		n /= 2
	}
	return n
}

func attention(p *kernel.Pool, s graph.Attention, c exec.Call) (*exec.Kernel, error) {
	shape, err := attentionShape(s, c.Out[0], c.In)
	if err != nil {
		return nil, err
	}
	return &exec.Kernel{FLOPs: 2 * scoreFLOPs(shape), Run: func(a *exec.Args) error {
		args := shape
		args.Q, args.K, args.V = headsOf(s, &args, a.In)
		args.Out = kernel.PlainHeads(a.Out[0], args.Queries, args.Heads, args.Dim)
		args.LSE = a.Out[1]
		if s.Masked {
			args.Mask = a.Ints[len(a.Ints)-1]
		}
		kernel.Attention(p, args)
		return nil
	}}, nil
}

// attentionGrad has the operands out, lse and dout before the forward ones.
func attentionGrad(p *kernel.Pool, grad graph.AttentionGrad, c exec.Call) (*exec.Kernel, error) {
	s := graph.Attention(grad)
	shape, err := attentionShape(s, c.In[0], c.In[3:])
	if err != nil {
		return nil, err
	}
	return &exec.Kernel{FLOPs: 5 * scoreFLOPs(shape), Run: func(a *exec.Args) error {
		args := kernel.AttentionGradArgs{AttentionArgs: shape}
		args.Q, args.K, args.V = headsOf(s, &args.AttentionArgs, a.In[3:])
		args.DQ, args.DK, args.DV = headsOf(s, &args.AttentionArgs, a.Out)
		args.Out = kernel.PlainHeads(a.In[0], args.Queries, args.Heads, args.Dim)
		args.DOut = kernel.PlainHeads(a.In[2], args.Queries, args.Heads, args.Dim)
		args.LSE = a.In[1]
		if s.Masked {
			args.Mask = a.Ints[len(a.Ints)-1]
		}
		kernel.AttentionGrad(p, args)
		return nil
	}}, nil
}

// cachedAttention writes the new keys and values into the caches [B, S, H, D],
// then attends to all there are.
func cachedAttention(p *kernel.Pool, _ graph.CachedAttention, c exec.Call) (*exec.Kernel, error) {
	shape, err := attentionShape(graph.Attention{Causal: true, Packed: true}, c.Out[0], c.In)
	if err != nil {
		return nil, err
	}
	S := c.In[1].Shape[1]
	return &exec.Kernel{Run: func(a *exec.Args) error {
		args := shape
		start := int(a.Ints[3][0])
		if start < 0 || start+args.Queries > S {
			return fmt.Errorf("tokens %d to %d do not fit a cache of %d", start, start+args.Queries-1, S)
		}
		extend(a.In[0], a.Out[1:], &args, S, start)
		args.Keys = start + args.Queries
		args.Q, _, _ = kernel.PackedHeads(a.In[0], args.Queries, args.Heads, args.Dim)
		args.K = kernel.PlainHeads(a.Out[1], S, args.Heads, args.Dim)
		args.V = kernel.PlainHeads(a.Out[2], S, args.Heads, args.Dim)
		args.Out = kernel.PlainHeads(a.Out[0], args.Queries, args.Heads, args.Dim)
		kernel.Attention(p, args)
		return nil
	}}, nil
}

// extend copies keys and values of qkv [B, T, 3, H, D] into the caches at start.
func extend(qkv []float32, caches [][]float32, a *kernel.AttentionArgs, S, start int) {
	width := a.Heads * a.Dim
	for i := range a.Batch * a.Queries {
		b, t := i/a.Queries, i%a.Queries
		for j, cache := range caches {
			copy(cache[(b*S+start+t)*width:][:width], qkv[(3*i+1+j)*width:])
		}
	}
}
