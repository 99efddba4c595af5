package models

import (
	G "gorgonia.org/gorgonia"

	"github.com/galvani-ml/galvani/graph"
)

// bert is BERT with its masked language model head under construction. Devlin
// et al.: BERT: Pre-training of Deep Bidirectional Transformers for Language
// Understanding (2018): the encoder of Vaswani et al.: Attention Is All You
// Need (2017), with the layer norms after each residual sum.
type bert struct {
	network
	cfg   *BERTConfig
	types *G.Node // token types, [B, T]
	table *G.Node // word embeddings, which a tied head uses again
}

func (c *BERTConfig) build(o Options) (*graph.Model, error) {
	m := bert{network: newNetwork(o, c.LayerNormEps, c.HiddenAct), cfg: c}
	m.types = m.ids(graph.InputTokenTypes, o)
	x := m.embed()
	for i := range c.NumHiddenLayers {
		x = m.block(i, x)
	}
	return m.finish(m.head(x))
}

// embed is norm(word[tokens] + type[types] + position): [B, T] to [B, T, C].
func (m *bert) embed() *G.Node {
	p := m.embeddingLayer()
	m.table = p.words
	x := m.Apply("word_embeddings", graph.Embedding{}, m.tokens, p.words)
	t := m.Apply("token_type_embeddings", graph.Embedding{}, m.types, p.types)
	x = m.Apply("add", graph.Add{}, x, t)
	x = m.Apply("position_embeddings", graph.AddPosition{}, x, p.positions)
	x = m.norm("LayerNorm", x, p.norm)
	return m.EndLayer(m.Dropout("dropout", m.dropout, x, m.rng))
}

// block is norm(x + attention(x)), then norm(x + mlp(x)).
func (m *bert) block(i int, x *G.Node) *G.Node {
	p := m.blockLayer(i)

	q := m.linear("attention.self.query", inputLast, x, p.query)   // [B, T, H, D]
	k := m.linear("attention.self.key", inputLast, x, p.key)       // [B, T, H, D]
	v := m.linear("attention.self.value", inputLast, x, p.value)   // [B, T, H, D]
	a := m.attention("attention.self", graph.Attention{}, q, k, v) // [B, T, H, D]
	a = m.linear("attention.output.dense", headsLast, a, p.attnProj)
	x = m.norm("attention.output.LayerNorm", m.residual("attention.output", x, a), p.norm1)

	h := m.linear("intermediate.dense", inputLast, x, p.up) // [B, T, F]
	h = m.activate("intermediate.act", h)                   // [B, T, F]
	h = m.linear("output.dense", inputLast, h, p.down)      // [B, T, C]
	return m.EndLayer(m.norm("output.LayerNorm", m.residual("output", x, h), p.norm2))
}

// head is norm(act(x W + b)) word^T + bias: [B, T, C] to [B, T, V].
func (m *bert) head(x *G.Node) *G.Node {
	p := m.headLayer()
	h := m.linear("transform.dense", inputLast, x, p.dense)
	h = m.norm("transform.LayerNorm", m.activate("transform.act", h), p.norm)
	return m.linear("decoder", inputLast, h, p.decoder)
}

// matrixParams counts query, key, value and output, the two of the
// feed-forward layer, and the two of the head.
func (c *BERTConfig) matrixParams() int {
	block := 4*c.HiddenSize*c.HiddenSize + 2*c.HiddenSize*c.IntermediateSize
	return c.NumHiddenLayers*block + c.HiddenSize*c.HiddenSize + c.VocabSize*c.HiddenSize
}
