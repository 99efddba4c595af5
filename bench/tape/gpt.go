package tape

import (
	"fmt"
	"math"

	G "gorgonia.org/gorgonia"
)

// gpt is the graph from tokens and positions [N], scaled one-hot targets [N, V]
// and a mask [B H, T, T] to the loss. Radford et al.: Language Models are
// Unsupervised Multitask Learners (2019).
func (e *expr) gpt(c Config, tokens, positions, targets, mask *G.Node) (loss *G.Node) {
	table := e.param("wte.weight", c.Vocab, c.Width)
	x := e.add(
		e.lookup(table, tokens),
		e.lookup(e.param("wpe.weight", c.Seq, c.Width), positions),
	)
	for l := range c.Layers {
		p := fmt.Sprintf("h.%d.", l)
		x = e.add(x, e.attention(c, p+"attn.", e.layerNorm(c, p+"ln_1", x), mask))
		h := e.linear(p+"mlp.c_fc", e.layerNorm(c, p+"ln_2", x), c.Width, 4*c.Width)
		x = e.add(x, e.linear(p+"mlp.c_proj", e.gelu(h), 4*c.Width, c.Width))
	}
	x = e.layerNorm(c, "ln_f", x)
	logp := e.along("log-softmax", G.LogSoftMax, e.matmul(x, e.head(c, table)), 1)
	return e.unary("neg", G.Neg, e.along("sum", G.Sum, e.times(logp, targets)))
}

// head is [C, V].
func (e *expr) head(c Config, table *G.Node) *G.Node {
	if c.Tied {
		return e.transpose(table, 1, 0)
	}
	return e.transposed("lm_head.weight", c.Width, c.Vocab)
}

// layerNorm is (x - mean) / sqrt(variance + norm) * weight + bias.
func (e *expr) layerNorm(c Config, name string, x *G.Node) *G.Node {
	weight, bias := e.param(name+".weight", c.Width), e.param(name+".bias", c.Width)
	centered := e.broadcast(G.BroadcastSub, x, e.along("mean", G.Mean, x, 1), 1)
	variance := e.along("mean", G.Mean, e.unary("square", G.Square, centered), 1)
	deviation := e.unary("sqrt", G.Sqrt, e.add(variance, e.constant(norm)))
	y := e.broadcast(G.BroadcastHadamardDiv, centered, deviation, 1)
	return e.broadcast(G.BroadcastAdd, e.broadcast(G.BroadcastHadamardProd, y, weight, 0), bias, 0)
}

// linear is x W + b.
func (e *expr) linear(name string, x *G.Node, in, out int) *G.Node {
	y := e.matmul(x, e.param(name+".weight", in, out))
	return e.broadcast(G.BroadcastAdd, y, e.param(name+".bias", out), 0)
}

// attention is softmax(q k^T / sqrt(D) + mask) v of each head, projected.
func (e *expr) attention(c Config, name string, x, mask *G.Node) *G.Node {
	head := func(third int) *G.Node { // [B H, T, D]
		h := e.matmul(x, e.part(name+"c_attn.weight", third, 3, c.Width, c.Width))
		h = e.broadcast(G.BroadcastAdd, h, e.part(name+"c_attn.bias", third, 3, c.Width), 0)
		h = e.reshape(h, c.Batch, c.Seq, c.Heads, c.headWidth())
		return e.reshape(e.transpose(h, 0, 2, 1, 3), c.Batch*c.Heads, c.Seq, c.headWidth())
	}
	q, k, v := head(0), head(1), head(2)
	scores := e.scale(e.batched(q, k, true), float32(1/math.Sqrt(float64(c.headWidth()))))
	y := e.batched(e.along("softmax", G.SoftMax, e.add(scores, mask), 2), v, false)
	y = e.transpose(e.reshape(y, c.Batch, c.Heads, c.Seq, c.headWidth()), 0, 2, 1, 3)
	return e.linear(name+"c_proj", e.reshape(y, c.rows(), c.Width), c.Width, c.Width)
}

// gelu is the approximation by tanh of Hendrycks and Gimpel (2016).
func (e *expr) gelu(x *G.Node) *G.Node {
	inner := e.add(x, e.scale(e.unary("cube", G.Cube, x), 0.044715))
	t := e.unary("tanh", G.Tanh, e.scale(inner, float32(math.Sqrt(2/math.Pi))))
	return e.times(e.scale(x, 0.5), e.add(t, e.constant(1)))
}

// causalMask is [B H, T, T]: 0 where a token may attend, else so far below 0
// that softmax gives 0.
func causalMask(c Config) []float32 {
	mask := make([]float32, c.Batch*c.Heads*c.Seq*c.Seq)
	for i := range mask {
		if query, key := i/c.Seq%c.Seq, i%c.Seq; key > query {
			mask[i] = -1e9
		}
	}
	return mask
}
