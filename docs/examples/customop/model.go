package main

import (
	"fmt"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Config is a decoder whose feed-forward layers are gated by SwiGLU.
type Config struct {
	Vocab, Seq, Width, Heads, Inner, Blocks int
}

// projection is a product over the last dimension, fromHeads one over heads and
// their width. Weights have their inputs first.
var (
	projection = graph.Linear{Contract: 1}
	fromHeads  = graph.Linear{Contract: 2}
	weights    = graph.Init{Std: 0.08}
	gains      = graph.Init{Mean: 1}
)

// Build returns the model of one micro-batch of so many rows, in elements of
// type dtype. B, T, C, H, D, F, V are rows, Seq, Width, Heads, Width/Heads,
// Inner, Vocab.
func (c Config) Build(dtype tensor.Dtype, rows int) (*graph.Model, error) {
	b := graph.NewBuilder(dtype)
	tokens := b.Input(graph.InputTokens, tensor.Int32, rows, c.Seq)
	targets := b.Input(graph.InputTargets, tensor.Int32, rows, c.Seq)
	scale := b.Scalar(graph.InputScale) // 1 / number of targets in the batch

	// The first layer is the embedding, the last one the head.
	b.Layer("embedding", "embedding", "embedding.")
	table := split(b, b.Param("tokens", weights, c.Vocab, c.Width), 0)
	x := b.Apply("look_up", graph.Embedding{}, tokens, table)
	x = b.EndLayer(b.Apply("positions", graph.AddPosition{}, x, b.Param("positions", weights, c.Seq, c.Width)))
	for i := range c.Blocks {
		x = c.block(b, i, x)
	}
	b.Layer("head", "head", "head.")
	x = b.Apply("norm", graph.RMSNorm{Eps: 1e-5}, x, b.Param("norm", gains, c.Width))
	logits := b.Apply("logits", projection, x, split(b, b.Param("weight", weights, c.Width, c.Vocab), 1)) // [B, T, V]
	b.Loss(b.Apply("loss", graph.CrossEntropy{}, b.Logits(logits), targets, scale))
	return b.Model()
}

// block is attention and a gated feed-forward layer, x [B, T, C] to the same.
func (c Config) block(b *graph.Builder, i int, x *G.Node) *G.Node {
	C, H, D, F := c.Width, c.Heads, c.Width/c.Heads, c.Inner
	b.Layer(fmt.Sprintf("block.%d", i), "block", fmt.Sprintf("block.%d.", i))
	h := b.Apply("norm_1", graph.RMSNorm{Eps: 1e-5}, x, b.Param("norm_1", gains, C))
	qkv := b.Apply("qkv", projection, h, split(b, b.Param("qkv", weights, C, 3, H, D), 2)) // [B, T, 3, H, D]
	h = b.Apply("attention", graph.Attention{Causal: true, Packed: true}, qkv)
	h = b.Apply("out", fromHeads, h, split(b, b.Param("out", weights, H, D, C), 0))
	x = b.Apply("residual_1", graph.Add{}, x, h)

	h = b.Apply("norm_2", graph.RMSNorm{Eps: 1e-5}, x, b.Param("norm_2", gains, C))
	gate := b.Apply("gate", projection, h, split(b, b.Param("gate", weights, C, F), 1)) // [B, T, F]
	up := b.Apply("up", projection, h, split(b, b.Param("up", weights, C, F), 1))
	h = b.Apply("swiglu", SwiGLU{}, gate, up)
	h = b.Apply("down", projection, h, split(b, b.Param("down", weights, F, C), 0))
	return b.EndLayer(b.Apply("residual_2", graph.Add{}, x, h))
}

// split says along which dimension tensor parallelism splits a parameter.
func split(b *graph.Builder, param *G.Node, dim int) *G.Node {
	b.Split(param, dim)
	return param
}
