package graph

import (
	"fmt"
	"math"

	G "gorgonia.org/gorgonia"
)

// Attention is scaled dot-product attention of all heads, fused: per head,
// softmax(q k^T / sqrt(D)) v. No T x T matrix is kept; the side output is the
// logarithm of each row's softmax denominator, [B, H, T], from which the
// backward pass recomputes the probabilities. Dao et al.: FlashAttention (2022).
//
// Operands: q, k, v, each [B, T, H, D], or with Packed a single qkv
// [B, T, 3, H, D]; k and v may have fewer heads than q, a divisor of H. With
// Masked a last operand follows, mask [B, T] int32, 1 where a key may be
// attended to and 0 at padding. A query all of whose keys are masked gives
// zeros. The result is [B, T, H, D].
type Attention struct {
	Causal bool // token t attends to tokens 0 to t
	Packed bool
	Masked bool
}

// Kind is "attention".
func (Attention) Kind() string { return "attention" }

// Infer checks q, k, v and the mask.
func (s Attention) Infer(in []Type) (Type, []Type, error) {
	tensors := 3
	if s.Packed {
		tensors = 1
	}
	n := tensors
	if s.Masked {
		n++
	}
	if err := arity(in, n, n); err != nil {
		return Type{}, nil, err
	}
	if err := floats(in[:tensors]...); err != nil {
		return Type{}, nil, err
	}
	q := in[0]
	switch {
	case s.Packed && (q.Dims() != 5 || q.Shape[2] != 3):
		return Type{}, nil, fmt.Errorf("needs qkv [B T 3 H D], has %v", q)
	case !s.Packed && q.Dims() != 4:
		return Type{}, nil, fmt.Errorf("needs q [B T H D], has %v", q)
	case s.Packed:
		q = q.like(q.Shape[0], q.Shape[1], q.Shape[3], q.Shape[4])
	default:
		k, v := in[1], in[2]
		if !sameShape(k.Shape, v.Shape) || k.Dims() != 4 {
			return Type{}, nil, fmt.Errorf("needs k and v of one shape [B T H D], has %v and %v", k, v)
		}
		if err := shaped("k", k, q.Shape[0], q.Shape[1], k.Shape[2], q.Shape[3]); err != nil {
			return Type{}, nil, err
		}
		if q.Shape[2]%k.Shape[2] != 0 {
			return Type{}, nil, fmt.Errorf("%d query heads are no multiple of %d key heads", q.Shape[2], k.Shape[2])
		}
	}
	if s.Masked {
		mask := in[n-1]
		if err := ints("mask", mask); err != nil {
			return Type{}, nil, err
		}
		if err := shaped("mask", mask, q.Shape[0], q.Shape[1]); err != nil {
			return Type{}, nil, err
		}
	}
	return q, []Type{q.like(q.Shape[0], q.Shape[2], q.Shape[1])}, nil
}

// heads gives access to q, k or v of an evaluation by batch, token and head.
type heads struct {
	data          []float64
	tokens, width int // tokens a sequence; elements from one token to the next
	offset, dim   int // where the tensor starts within a token; D
}

func (h heads) at(b, t, head int) []float64 {
	i := (b*h.tokens+t)*h.width + h.offset + head*h.dim
	return h.data[i : i+h.dim]
}

// split gives q, k and v within operands (or gradients of the same layout).
func (s Attention) split(x []Operand) (q, k, v heads) {
	if s.Packed {
		T, H, D := x[0].Shape[1], x[0].Shape[3], x[0].Shape[4]
		part := func(i int) heads { return heads{x[0].Data, T, 3 * H * D, i * H * D, D} }
		return part(0), part(1), part(2)
	}
	whole := func(x Operand) heads {
		return heads{x.Data, x.Shape[1], x.Shape[2] * x.Shape[3], 0, x.Shape[3]}
	}
	return whole(x[0]), whole(x[1]), whole(x[2])
}

// groups is the number of query heads that share one key head.
func (s Attention) groups(in []Operand) int {
	if s.Packed {
		return 1
	}
	return in[0].Shape[2] / in[1].Shape[2]
}

// sees reports whether token t attends to token u of sequence b.
func (s Attention) sees(in []Operand, b, t, u, T int) bool {
	if s.Causal && u > t {
		return false
	}
	return !s.Masked || in[len(in)-1].Data[b*T+u] != 0
}

// Eval computes the probabilities of each row plainly.
func (s Attention) Eval(e *Eval) error {
	q, k, v := s.split(e.In)
	B, T, H, D := e.Out.Shape[0], e.Out.Shape[1], e.Out.Shape[2], e.Out.Shape[3]
	groups := s.groups(e.In)
	out := heads{e.Out.Data, T, H * D, 0, D}
	scale := 1 / math.Sqrt(float64(D))
	for i := range B * H * T {
		b, h, t := i/(H*T), i/T%H, i%T
		var sum float64
		most := math.Inf(-1)
		scores := make([]float64, T)
		for u := range T {
			if s.sees(e.In, b, t, u, T) {
				scores[u] = scale * dot(q.at(b, t, h), k.at(b, u, h/groups))
				most = max(most, scores[u])
			}
		}
		for u := range T {
			if s.sees(e.In, b, t, u, T) {
				sum += math.Exp(scores[u] - most)
			}
		}
		lse := most + math.Log(sum)
		if sum == 0 {
			lse = 0
		}
		for u := range T {
			if s.sees(e.In, b, t, u, T) {
				axpy(out.at(b, t, h), math.Exp(scores[u]-lse), v.at(b, u, h/groups))
			}
		}
		e.Side[0].Data[i] = lse
	}
	return nil
}

func dot(x, y []float64) float64 {
	var sum float64
	for i := range x {
		sum += x[i] * y[i]
	}
	return sum
}

// axpy is y += a x.
func axpy(y []float64, a float64, x []float64) {
	for i := range x {
		y[i] += a * x[i]
	}
}

// Wrt is true for q, k and v.
func (s Attention) Wrt(n int) []bool {
	wrt := []bool{true, true, true, false}
	if s.Packed {
		wrt = []bool{true, false}
	}
	return wrt[:n]
}

// Grad gives dq (or dqkv), and dk and dv as its side outputs.
func (s Attention) Grad(g *Gradient) []*G.Node {
	in := append([]*G.Node{g.Out, g.Side(g.Out, 0), g.Dy}, g.In...)
	dq := g.Apply(AttentionGrad(s), in...)
	grads := []*G.Node{dq}
	if !s.Packed {
		grads = append(grads, g.Side(dq, 0), g.Side(dq, 1))
	}
	if s.Masked {
		grads = append(grads, nil)
	}
	return grads
}

// AttentionGrad is the gradient of Attention: operands out, lse, dy, then the
// forward operands. The result is dq with side outputs dk and dv, or with
// Packed dqkv alone.
type AttentionGrad Attention

// Kind is "attention_grad".
func (AttentionGrad) Kind() string { return "attention_grad" }

// Infer gives the types of q, k and v.
func (s AttentionGrad) Infer(in []Type) (Type, []Type, error) {
	if s.Packed {
		return in[3], nil, nil
	}
	return in[3], []Type{in[4], in[5]}, nil
}

// Eval computes, with p the probabilities and delta = dy . out per row,
// dv += p dy, ds = p (dy . v - delta), dq += ds k, dk += ds q.
func (s AttentionGrad) Eval(e *Eval) error {
	a := Attention(s)
	forward := e.In[3:]
	q, k, v := a.split(forward)
	dq, dk, dv := a.split(append([]Operand{e.Out}, e.Side...))
	shape := e.In[0].Shape
	B, T, H, D := shape[0], shape[1], shape[2], shape[3]
	groups := a.groups(forward)
	out := heads{e.In[0].Data, T, H * D, 0, D}
	dy := heads{e.In[2].Data, T, H * D, 0, D}
	scale := 1 / math.Sqrt(float64(D))
	for i := range B * H * T {
		b, h, t := i/(H*T), i/T%H, i%T
		lse, delta := e.In[1].Data[i], dot(dy.at(b, t, h), out.at(b, t, h))
		for u := range T {
			if !a.sees(forward, b, t, u, T) {
				continue
			}
			kv := h / groups
			p := math.Exp(scale*dot(q.at(b, t, h), k.at(b, u, kv)) - lse)
			ds := scale * p * (dot(dy.at(b, t, h), v.at(b, u, kv)) - delta)
			axpy(dv.at(b, u, kv), p, dy.at(b, t, h))
			axpy(dq.at(b, t, h), ds, k.at(b, u, kv))
			axpy(dk.at(b, u, kv), ds, q.at(b, t, h))
		}
	}
	return nil
}
