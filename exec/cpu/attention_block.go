package cpu

import (
	"fmt"
	"math"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// attentionBlockShape is a block's arguments but for memory, of queries
// [B, T, H, D], or packed [B, T, 3, H, D], and kv [B, U, 2, H, D]. The mask, if
// any, has maskTokens for each sequence. seen is false where no query sees any
// key of the block.
func attentionBlockShape(s graph.AttentionBlock, q, kv graph.Type, mask []graph.Type) (a kernel.AttentionArgs, seen bool, err error) {
	heads := q.Dims() - 2
	a = kernel.AttentionArgs{
		Batch: q.Shape[0], Queries: q.Shape[1], Keys: kv.Shape[1],
		Heads: q.Shape[heads], KVHeads: kv.Shape[3], Dim: kv.Shape[4],
		Scale: float32(1 / math.Sqrt(float64(kv.Shape[4]))), Partial: true,
	}
	if s.Masked {
		a.MaskBatch = mask[0].Shape[1]
	}
	if a.Causal = s.Causal && s.Queries < s.Keys+a.Keys-1; a.Causal {
		a.Offset = s.Queries - s.Keys - (a.Keys - a.Queries)
	}
	if a.Dim > kernel.MaxHeadDim {
		return a, false, fmt.Errorf("heads of size %d: the CPU's kernel takes up to %d", a.Dim, kernel.MaxHeadDim)
	}
	return a, !s.Causal || s.Queries+a.Queries > s.Keys, nil
}

// blockFLOPs counts one product with a block of scores: of the pairs that see
// each other.
func blockFLOPs(a kernel.AttentionArgs) int64 {
	pairs := 0
	for i := range a.Queries {
		if seen := a.Keys; a.Causal {
			pairs += max(0, min(seen, 1+i+a.Keys-a.Queries+a.Offset))
		} else {
			pairs += seen
		}
	}
	return flops(a.Batch, a.Heads, pairs, a.Dim)
}

// blockOperands gives q, k, v and the mask their memory, from operand i on.
func blockOperands(s graph.AttentionBlock, a *kernel.AttentionArgs, args *exec.Args, i int) {
	if a.Q = kernel.PlainHeads(args.In[i], a.Queries, a.Heads, a.Dim); s.Packed {
		a.Q, _, _ = kernel.PackedHeads(args.In[i], a.Queries, a.Heads, a.Dim)
	}
	a.K, a.V = kernel.PairedHeads(args.In[i+1], a.Keys, a.KVHeads, a.Dim)
	if s.Masked {
		a.Mask = args.Ints[i+2][s.Keys:]
	}
}

// attentionBlock takes in a block of keys, which costs nothing where no query
// sees any of them.
func attentionBlock(p *kernel.Pool, s graph.AttentionBlock, c exec.Call) (*exec.Kernel, error) {
	first := 2
	if s.First {
		first = 0
	}
	shape, seen, err := attentionBlockShape(s, c.In[first], c.In[first+1], c.In[first+2:])
	if err != nil {
		return nil, err
	}
	if !seen && !s.First {
		return &exec.Kernel{InPlace: []int{0}, Run: func(a *exec.Args) error {
			copy(a.Out[0], a.In[0]) // costs nothing where they are the same memory
			copy(a.Out[1], a.In[1])
			return nil
		}}, nil
	}
	k := &exec.Kernel{FLOPs: 2 * blockFLOPs(shape), Run: func(a *exec.Args) error {
		args := shape
		blockOperands(s, &args, a, first)
		args.Out = kernel.PlainHeads(a.Out[0], args.Queries, args.Heads, args.Dim)
		args.LSE = a.Out[1]
		if !s.First {
			args.PrevOut, args.PrevLSE = kernel.PlainHeads(a.In[0], args.Queries, args.Heads, args.Dim), a.In[1]
		}
		kernel.Attention(p, args)
		return nil
	}}
	if !s.First {
		k.InPlace = []int{0}
	}
	return k, nil
}

// attentionBlockGrad adds a block's part of the queries' gradients to that of
// the blocks before, and gives the gradients of its keys and values.
func attentionBlockGrad(p *kernel.Pool, grad graph.AttentionBlockGrad, c exec.Call) (*exec.Kernel, error) {
	s, first := graph.AttentionBlock(grad), 1
	if s.First {
		first = 0
	}
	shape, seen, err := attentionBlockShape(s, c.In[first+3], c.In[first+4], c.In[first+5:])
	if err != nil {
		return nil, err
	}
	k := &exec.Kernel{FLOPs: 5 * blockFLOPs(shape), Run: func(a *exec.Args) error {
		dq, dkv := a.Out[0], a.Out[1]
		if !s.First {
			copy(dq, a.In[0]) // costs nothing where they are the same memory
			if !seen {
				clear(dkv)
				return nil
			}
		}
		args := kernel.AttentionGradArgs{AttentionArgs: shape, AddDQ: !s.First}
		plain := func(x []float32) kernel.Heads { return kernel.PlainHeads(x, args.Queries, args.Heads, args.Dim) }
		blockOperands(s, &args.AttentionArgs, a, first+3)
		args.Out, args.LSE, args.DOut = plain(a.In[first]), a.In[first+1], plain(a.In[first+2])
		args.DQ = plain(dq)
		args.DK, args.DV = kernel.PairedHeads(dkv, args.Keys, args.KVHeads, args.Dim)
		kernel.AttentionGrad(p, args)
		return nil
	}}
	if !s.First {
		k.InPlace = []int{0}
	}
	return k, nil
}

// joinKV copies keys and values beside each other.
func joinKV(_ *kernel.Pool, s graph.JoinKV, c exec.Call) (*exec.Kernel, error) {
	width := c.Out[0].Cols(2)
	if s.Packed {
		return &exec.Kernel{Run: func(a *exec.Args) error {
			copyColumns(a.Out[0], 2*width, a.In[0][width:], 3*width, 2*width)
			return nil
		}}, nil
	}
	return &exec.Kernel{Run: func(a *exec.Args) error {
		copyColumns(a.Out[0], 2*width, a.In[0], width, width)
		copyColumns(a.Out[0][width:], 2*width, a.In[1], width, width)
		return nil
	}}, nil
}

// joinKVGrad takes the gradients of keys and values apart.
func joinKVGrad(_ *kernel.Pool, s graph.JoinKVGrad, c exec.Call) (*exec.Kernel, error) {
	width := c.In[0].Cols(2)
	if s.Packed {
		return &exec.Kernel{Run: func(a *exec.Args) error {
			copyColumns(a.Out[0][width:], 3*width, a.In[0], 2*width, 2*width)
			copyColumns(a.Out[0], 3*width, a.In[1], width, width)
			return nil
		}}, nil
	}
	return &exec.Kernel{InPlace: []int{1}, Run: func(a *exec.Args) error {
		copy(a.Out[0], a.In[1]) // costs nothing where they are the same memory
		copyColumns(a.Out[1], width, a.In[0], 2*width, width)
		copyColumns(a.Out[2], width, a.In[0][width:], 2*width, width)
		return nil
	}}, nil
}

// copyColumns copies the first cols elements of each row.
func copyColumns(dst []float32, ldd int, src []float32, lds, cols int) {
	for i, j := 0, 0; i < len(dst) && j < len(src); i, j = i+ldd, j+lds {
		copy(dst[i:i+cols], src[j:])
	}
}
