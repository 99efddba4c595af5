package graph

import (
	"fmt"
	"math"

	G "gorgonia.org/gorgonia"
)

// RingAttention is Attention over a sequence whose tokens lie on the ranks of
// an axis, in order of rank, as equal parts. Queries stay where they are; keys
// and values go once around the ring of ranks, and each rank takes in one block
// of them after the other: Liu et al., Ring Attention with Blockwise
// Transformers (2023). A rank holds one block beside its own, whatever their
// number. With Causal, a block that lies wholly after the queries costs no
// arithmetic.
//
// [RingAttention.Apply] builds it from an [AttentionBlock] for each rank of the
// axis with a [Rotate] between them. The Spec itself ends that chain: its
// operands are the last block's out and lse, then those of Attention, of this
// rank's tokens, but for the mask, which is that of the whole sequence. Its
// result is out. Keys and values that were passed around are not kept for the
// gradient, which passes them around again, together with their gradients.
type RingAttention struct {
	Attention Attention
	Axis      Axis
}

// Kind is "ring_attention".
func (RingAttention) Kind() string { return "ring_attention" }

// Infer gives out's type.
func (s RingAttention) Infer(in []Type) (Type, []Type, error) {
	n := 2 + s.tensors()
	if s.Attention.Masked {
		n++
	}
	return in[0], nil, arity(in, n, n)
}

// Eval copies out.
func (RingAttention) Eval(e *Eval) error {
	copy(e.Out.Data, e.In[0].Data)
	return nil
}

// tensors is how many operands hold q, k and v.
func (s RingAttention) tensors() int {
	if s.Attention.Packed {
		return 1
	}
	return 3
}

// block describes the block that this rank has after that many steps around
// the ring, of tokens tokens.
func (s RingAttention) block(step, tokens int) AttentionBlock {
	from := (s.Axis.Rank - step + s.Axis.Size) % s.Axis.Size
	return AttentionBlock{
		Causal: s.Attention.Causal, Packed: s.Attention.Packed, Masked: s.Attention.Masked,
		First: step == 0, Queries: s.Axis.Rank * tokens, Keys: from * tokens,
	}
}

// Apply adds the operation to a graph: in are the operands of Attention. The
// names of what is communicated start with the tag's, which must be unique.
func (s RingAttention) Apply(tag Tag, in ...*G.Node) (*G.Node, error) {
	b := &ringBuilder{tag: tag, ring: s, in: in}
	if len(in) < s.tensors() {
		return nil, &OpError{Tag: tag, Kind: s.Kind(), Err: arity(make([]Type, len(in)), s.tensors(), s.tensors()+1)}
	}
	kv := b.apply("kv", JoinKV{Packed: s.Attention.Packed}, b.kv()...)
	var out, lse *G.Node
	for step := range s.Axis.Size {
		var operands []*G.Node
		if step > 0 {
			kv = b.apply(fmt.Sprint("kv.", step), Rotate{s.Axis, 1}, kv)
			operands = []*G.Node{out, lse}
		}
		out = b.apply(fmt.Sprint("block.", step), s.block(step, in[0].Shape()[1]), b.operands(operands, kv)...)
		lse = b.side(out, 0)
	}
	out = b.apply("", s, append([]*G.Node{out, lse}, in...)...)
	return out, b.err
}

// ringBuilder adds operations until the first error.
type ringBuilder struct {
	tag  Tag
	ring RingAttention
	in   []*G.Node // operands of Attention
	err  error
}

// kv returns the operands that hold keys and values.
func (b *ringBuilder) kv() []*G.Node {
	if b.ring.Attention.Packed {
		return b.in[:1]
	}
	return b.in[1:3]
}

// operands appends those of a block to what comes before them.
func (b *ringBuilder) operands(before []*G.Node, kv *G.Node) []*G.Node {
	in := append(before, b.in[0], kv)
	if b.ring.Attention.Masked {
		in = append(in, b.in[len(b.in)-1])
	}
	return in
}

func (b *ringBuilder) apply(name string, s Spec, in ...*G.Node) *G.Node {
	if b.err != nil {
		return nil
	}
	tag := b.tag
	if name != "" {
		tag.Name += "." + name
	}
	n, err := Apply(s, tag, in...)
	b.err = err
	return n
}

func (b *ringBuilder) side(n *G.Node, k int) *G.Node {
	if b.err != nil {
		return nil
	}
	s, err := Side(n, k)
	b.err = err
	return s
}

// Wrt is true for q, k and v.
func (s RingAttention) Wrt(n int) []bool {
	wrt := make([]bool, n)
	for i := range s.tensors() {
		wrt[2+i] = true
	}
	return wrt
}

// Grad passes keys and values around again. The sum of their gradients follows
// them, while the next block is computed, and once more, to where they belong.
func (s RingAttention) Grad(g *Gradient) []*G.Node {
	b := &ringBuilder{tag: g.tag, ring: s, in: g.In[2:], err: g.err}
	b.tag.Name += ".grad"
	kv := b.apply("kv", JoinKV{Packed: s.Attention.Packed}, b.kv()...)
	var dkv, dq *G.Node
	for step := range s.Axis.Size {
		var operands []*G.Node
		if step > 0 {
			dkv = b.apply(fmt.Sprint("dkv.", step), Rotate{s.Axis, 1}, dkv)
			kv = b.apply(fmt.Sprint("kv.", step), Rotate{s.Axis, 1}, kv)
			operands = []*G.Node{dq}
		}
		operands = append(operands, g.In[0], g.In[1], g.Dy)
		block := AttentionBlockGrad(s.block(step, g.In[0].Shape()[1]))
		dq = b.apply(fmt.Sprint("block.", step), block, b.operands(operands, kv)...)
		own := b.side(dq, 0)
		if step == 0 {
			dkv = own
		} else {
			dkv = b.apply(fmt.Sprint("sum.", step), Add{}, dkv, own)
		}
	}
	dkv = b.apply(fmt.Sprint("dkv.", s.Axis.Size), Rotate{s.Axis, 1}, dkv)
	grads := make([]*G.Node, len(g.In))
	grads[2] = b.apply("", JoinKVGrad{Packed: s.Attention.Packed}, dkv, dq)
	if !s.Attention.Packed {
		grads[3], grads[4] = b.side(grads[2], 0), b.side(grads[2], 1)
	}
	g.err = b.err
	return grads
}

// JoinKV puts keys and values into one tensor, kv [B, T, 2, H, D]. Operands: k
// and v [B, T, H, D], or with Packed qkv [B, T, 3, H, D].
type JoinKV struct{ Packed bool }

// Kind is "join_kv".
func (JoinKV) Kind() string { return "join_kv" }

// Infer gives kv's type.
func (s JoinKV) Infer(in []Type) (Type, []Type, error) {
	n := 2
	if s.Packed {
		n = 1
	}
	if err := arity(in, n, n); err != nil {
		return Type{}, nil, err
	}
	if err := floats(in...); err != nil {
		return Type{}, nil, err
	}
	x := in[0]
	switch {
	case s.Packed && (x.Dims() != 5 || x.Shape[2] != 3):
		return Type{}, nil, fmt.Errorf("needs qkv [B T 3 H D], has %v", x)
	case s.Packed:
		return x.like(x.Shape[0], x.Shape[1], 2, x.Shape[3], x.Shape[4]), nil, nil
	case x.Dims() != 4 || !sameShape(x.Shape, in[1].Shape):
		return Type{}, nil, fmt.Errorf("needs k and v of one shape [B T H D], has %v and %v", x, in[1])
	}
	return x.like(x.Shape[0], x.Shape[1], 2, x.Shape[2], x.Shape[3]), nil, nil
}

// Eval copies token by token.
func (s JoinKV) Eval(e *Eval) error {
	width := e.Out.Cols(2)
	for t := range e.Out.Rows(3) {
		kv := e.Out.Data[2*t*width:]
		if s.Packed {
			copy(kv[:2*width], e.In[0].Data[(3*t+1)*width:])
			continue
		}
		copy(kv[:width], e.In[0].Data[t*width:])
		copy(kv[width:2*width], e.In[1].Data[t*width:])
	}
	return nil
}

// JoinKVGrad takes dkv [B, T, 2, H, D] apart, and puts dq beside: dkv and dq to
// dq with side outputs dk and dv, or with Packed to dqkv. That dq comes from it
// too has the blocks' dkv added up as they come, where they would all wait for
// the last.
type JoinKVGrad struct{ Packed bool }

// Kind is "join_kv_grad".
func (JoinKVGrad) Kind() string { return "join_kv_grad" }

// Infer gives the types of dq, dk and dv, or of dqkv.
func (s JoinKVGrad) Infer(in []Type) (Type, []Type, error) {
	dkv := in[0].Shape
	if s.Packed {
		return in[0].like(dkv[0], dkv[1], 3, dkv[3], dkv[4]), nil, nil
	}
	dk := in[0].like(dkv[0], dkv[1], dkv[3], dkv[4])
	return in[1], []Type{dk, dk}, nil
}

// Eval copies token by token.
func (s JoinKVGrad) Eval(e *Eval) error {
	width := e.In[0].Cols(2)
	if !s.Packed {
		copy(e.Out.Data, e.In[1].Data)
	}
	for t := range e.In[0].Rows(3) {
		dkv := e.In[0].Data[2*t*width:][:2*width]
		if s.Packed {
			copy(e.Out.Data[3*t*width:][:width], e.In[1].Data[t*width:])
			copy(e.Out.Data[(3*t+1)*width:], dkv)
			continue
		}
		copy(e.Side[0].Data[t*width:], dkv[:width])
		copy(e.Side[1].Data[t*width:], dkv[width:])
	}
	return nil
}

// AttentionBlock is attention of some tokens of a sequence to a block of its
// keys, combined with that to blocks before. Operands: unless First, out
// [B, T, H, D] and lse [B, H, T] of the blocks before; q [B, T, H, D], or with
// Packed qkv [B, T, 3, H, D], of which q is read; kv [B, U, 2, H, D], where H may
// be a divisor of q's; and with Masked the mask [B, S] of the sequence. Results:
// out, and as side output lse. A query that sees no key of all the blocks has
// zeros and minus infinity there.
type AttentionBlock struct {
	Causal, Packed, Masked bool
	First                  bool // no blocks before
	Queries, Keys          int  // positions of the first query and the first key in the sequence
}

// Kind is "attention_block".
func (AttentionBlock) Kind() string { return "attention_block" }

// Infer checks q, kv, the mask and what came before.
func (s AttentionBlock) Infer(in []Type) (Type, []Type, error) {
	n, first := 2, 0
	if !s.First {
		n, first = n+2, 2
	}
	if s.Masked {
		n++
	}
	if err := arity(in, n, n); err != nil {
		return Type{}, nil, err
	}
	if err := floats(in[:first+2]...); err != nil {
		return Type{}, nil, err
	}
	q, kv := in[first], in[first+1]
	switch {
	case s.Packed && (q.Dims() != 5 || q.Shape[2] != 3):
		return Type{}, nil, fmt.Errorf("needs qkv [B T 3 H D], has %v", q)
	case !s.Packed && q.Dims() != 4:
		return Type{}, nil, fmt.Errorf("needs q [B T H D], has %v", q)
	case kv.Dims() != 5 || kv.Shape[2] != 2:
		return Type{}, nil, fmt.Errorf("needs kv [B U 2 H D], has %v", kv)
	case s.Packed:
		q = q.like(q.Shape[0], q.Shape[1], q.Shape[3], q.Shape[4])
	}
	if err := shaped("kv", kv, q.Shape[0], kv.Shape[1], 2, kv.Shape[3], q.Shape[3]); err != nil {
		return Type{}, nil, err
	}
	if q.Shape[2]%kv.Shape[3] != 0 {
		return Type{}, nil, fmt.Errorf("%d query heads are no multiple of %d key heads", q.Shape[2], kv.Shape[3])
	}
	lse := q.like(q.Shape[0], q.Shape[2], q.Shape[1])
	if !s.First {
		if err := shaped("out", in[0], q.Shape...); err != nil {
			return Type{}, nil, err
		}
		if err := shaped("lse", in[1], lse.Shape...); err != nil {
			return Type{}, nil, err
		}
	}
	return q, []Type{lse}, s.checkMask(in[n-1], q.Shape[0], kv.Shape[1])
}

func (s AttentionBlock) checkMask(mask Type, batch, keys int) error {
	if !s.Masked {
		return nil
	}
	if err := ints("mask", mask); err != nil {
		return err
	}
	if mask.Dims() != 2 || mask.Shape[0] != batch || mask.Shape[1] < s.Keys+keys {
		return fmt.Errorf("mask has shape %v, needs [%d S], S at least %d", []int(mask.Shape), batch, s.Keys+keys)
	}
	return nil
}

// blockHeads are the operands q, k and v of a block, and what else Eval needs.
type blockHeads struct {
	AttentionBlock
	q, k, v              heads
	mask                 Operand
	B, H, T, U, D, group int
}

// split gives q, k and v within the operands from q on.
func (s AttentionBlock) split(in []Operand) blockHeads {
	q, kv := in[0], in[1]
	U, KV, D := kv.Shape[1], kv.Shape[3], kv.Shape[4]
	b := blockHeads{AttentionBlock: s, B: q.Shape[0], T: q.Shape[1], H: q.Shape[q.Dims()-2], U: U, D: D, mask: in[len(in)-1]}
	b.group = b.H / KV
	b.q = heads{q.Data, b.T, q.Cols(q.Dims() - 2), 0, D}
	b.k, b.v = heads{kv.Data, U, 2 * KV * D, 0, D}, heads{kv.Data, U, 2 * KV * D, KV * D, D}
	return b
}

// scores returns the scores of token t with the keys it sees, minus infinity
// for the others.
func (x *blockHeads) scores(b, h, t int) []float64 {
	scores := make([]float64, x.U)
	for u := range scores {
		hidden := x.Masked && x.mask.Data[b*x.mask.Shape[1]+x.Keys+u] == 0
		if scores[u] = math.Inf(-1); !hidden && (!x.Causal || x.Keys+u <= x.Queries+t) {
			scores[u] = dot(x.q.at(b, t, h), x.k.at(b, u, h/x.group)) / math.Sqrt(float64(x.D))
		}
	}
	return scores
}

// Eval adds the block's weights to the denominator of each row.
func (s AttentionBlock) Eval(e *Eval) error {
	before := e.In
	if !s.First {
		before = e.In[2:]
	}
	x := s.split(before)
	out := heads{e.Out.Data, x.T, x.H * x.D, 0, x.D}
	for i := range x.B * x.H * x.T {
		b, h, t := i/(x.H*x.T), i/x.T%x.H, i%x.T
		scores, prev := x.scores(b, h, t), math.Inf(-1)
		if !s.First {
			prev = e.In[1].Data[i]
		}
		lse := logDenominator(append(scores, prev))
		e.Side[0].Data[i] = lse
		if math.IsInf(lse, -1) {
			continue
		}
		if !s.First {
			axpy(out.at(b, t, h), math.Exp(prev-lse), heads{e.In[0].Data, x.T, x.H * x.D, 0, x.D}.at(b, t, h))
		}
		for u, score := range scores {
			axpy(out.at(b, t, h), math.Exp(score-lse), x.v.at(b, u, h/x.group))
		}
	}
	return nil
}

// logDenominator is the logarithm of the sum of exponentials of x.
func logDenominator(x []float64) float64 {
	most := math.Inf(-1)
	for _, v := range x {
		most = max(most, v)
	}
	if math.IsInf(most, -1) {
		return most
	}
	var sum float64
	for _, v := range x {
		sum += math.Exp(v - most)
	}
	return most + math.Log(sum)
}

// AttentionBlockGrad is what a block has in the gradient of attention. Operands:
// unless First, the sum dq [B, T, H, D] of the blocks before; out and lse of all
// blocks, dy, and AttentionBlock's operands from q on. Results: dq, and as side
// output the block's dkv [B, U, 2, H, D].
type AttentionBlockGrad AttentionBlock

// Kind is "attention_block_grad".
func (AttentionBlockGrad) Kind() string { return "attention_block_grad" }

// Infer gives the types of q and kv.
func (s AttentionBlockGrad) Infer(in []Type) (Type, []Type, error) {
	if !s.First {
		in = in[1:]
	}
	return in[0], []Type{in[4]}, nil
}

// Eval computes what AttentionGrad does, for the keys of the block.
func (s AttentionBlockGrad) Eval(e *Eval) error {
	in := e.In
	if !s.First {
		copy(e.Out.Data, in[0].Data)
		in = in[1:]
	}
	x := AttentionBlock(s).split(in[3:])
	token := func(data []float64) heads { return heads{data, x.T, x.H * x.D, 0, x.D} }
	out, dy, dq := token(in[0].Data), token(in[2].Data), token(e.Out.Data)
	dk, dv := x.k, x.v
	dk.data, dv.data = e.Side[0].Data, e.Side[0].Data
	for i := range x.B * x.H * x.T {
		b, h, t := i/(x.H*x.T), i/x.T%x.H, i%x.T
		delta := dot(dy.at(b, t, h), out.at(b, t, h))
		for u, score := range x.scores(b, h, t) {
			if math.IsInf(score, -1) {
				continue
			}
			p, kv := math.Exp(score-in[1].Data[i]), h/x.group
			ds := p * (dot(dy.at(b, t, h), x.v.at(b, u, kv)) - delta) / math.Sqrt(float64(x.D))
			axpy(dv.at(b, u, kv), p, dy.at(b, t, h))
			axpy(dq.at(b, t, h), ds, x.k.at(b, u, kv))
			axpy(dk.at(b, u, kv), ds, x.q.at(b, t, h))
		}
	}
	return nil
}
