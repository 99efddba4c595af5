package graph

import (
	"fmt"
	"math"
)

// CachedAttention is causal attention of T new tokens over a cache of earlier
// ones, for generation. Operands: qkv [B, T, 3, H, D], the key and value
// caches [B, S, H, D], and the position of the first new token, start [1]
// int32. The new keys and values are written to the caches at start; the caches
// so updated are the side outputs, and overwrite the operands. The result is
// [B, T, H, D].
type CachedAttention struct{}

// Updater is a Spec whose side outputs overwrite operands.
type Updater interface {
	// Updates returns, for each side output, the operand it overwrites.
	Updates() []int
}

// Kind is "cached_attention".
func (CachedAttention) Kind() string { return "cached_attention" }

// Updates says that the caches are written in place.
func (CachedAttention) Updates() []int { return []int{1, 2} }

// Infer checks the caches against qkv.
func (CachedAttention) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 4, 4); err != nil {
		return Type{}, nil, err
	}
	if err := floats(in[:3]...); err != nil {
		return Type{}, nil, err
	}
	if err := ints("start", in[3]); err != nil {
		return Type{}, nil, err
	}
	qkv, keys := in[0], in[1]
	if qkv.Dims() != 5 || qkv.Shape[2] != 3 || keys.Dims() != 4 {
		return Type{}, nil, fmt.Errorf("needs qkv [B T 3 H D] and caches [B S H D], has %v and %v", qkv, keys)
	}
	B, T, H, D := qkv.Shape[0], qkv.Shape[1], qkv.Shape[3], qkv.Shape[4]
	for i, name := range []string{"key cache", "value cache"} {
		if err := shaped(name, in[1+i], B, keys.Shape[1], H, D); err != nil {
			return Type{}, nil, err
		}
	}
	return qkv.like(B, T, H, D), []Type{keys, keys}, nil
}

// Eval extends the caches, then attends row by row.
func (CachedAttention) Eval(e *Eval) error {
	q, k, v := Attention{Packed: true}.split(e.In)
	keys, values := e.Side[0], e.Side[1]
	copy(keys.Data, e.In[1].Data)
	copy(values.Data, e.In[2].Data)
	B, T, H, D := e.Out.Shape[0], e.Out.Shape[1], e.Out.Shape[2], e.Out.Shape[3]
	S, start := keys.Shape[1], int(e.In[3].Data[0])
	if start < 0 || start+T > S {
		return fmt.Errorf("tokens %d to %d do not fit a cache of %d", start, start+T-1, S)
	}
	cachedK := heads{keys.Data, S, H * D, 0, D}
	cachedV := heads{values.Data, S, H * D, 0, D}
	out := heads{e.Out.Data, T, H * D, 0, D}
	for i := range B * H * T {
		b, h, t := i/(H*T), i/T%H, i%T
		copy(cachedK.at(b, start+t, h), k.at(b, t, h))
		copy(cachedV.at(b, start+t, h), v.at(b, t, h))
		weights := make([]float64, start+t+1)
		var sum float64
		for u := range weights {
			weights[u] = math.Exp(dot(q.at(b, t, h), cachedK.at(b, u, h)) / math.Sqrt(float64(D)))
			sum += weights[u]
		}
		for u, w := range weights {
			axpy(out.at(b, t, h), w/sum, cachedV.at(b, u, h))
		}
	}
	return nil
}
