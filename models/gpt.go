package models

import (
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
)

// gpt is GPT-2 under construction. Radford et al.: Language Models are
// Unsupervised Multitask Learners (2019), section 2.3: the decoder of GPT with
// the layer norms before each sub-block and one more before the head.
type gpt struct {
	network
	cfg   *GPTConfig
	table *G.Node // wte, which a tied head uses again
	start *G.Node // position of the first token; nil unless decoding
	cache int     // S; 0 unless decoding
}

func (c *GPTConfig) build(o Options) (*graph.Model, error) {
	m := gpt{network: newNetwork(o, c.LayerNormEpsilon, c.ActivationFunction), cfg: c}
	return m.finish(m.head(m.body()))
}

func (c *GPTConfig) decoder(o DecodeOptions) (*graph.Model, error) {
	options := Options{Batch: o.Batch, Seq: o.Tokens, Dtype: o.Dtype}
	m := gpt{network: newNetwork(options, c.LayerNormEpsilon, c.ActivationFunction), cfg: c, cache: o.Cache}
	m.start = m.Input(graph.InputStart, tensor.Int32, 1)
	x := m.body()
	if !o.Head {
		return m.Model()
	}
	return m.finish(m.head(x))
}

// body is the embedding and all blocks.
func (m *gpt) body() *G.Node {
	x := m.embed()
	for i := range m.cfg.NLayer {
		x = m.block(i, x)
	}
	return x
}

// embed is wte[tokens] + wpe: [B, T] to [B, T, C].
func (m *gpt) embed() *G.Node {
	p := m.embeddingLayer()
	m.table = p.tokens
	x := m.Apply("wte", graph.Embedding{}, m.tokens, p.tokens)
	if m.start == nil {
		x = m.Apply("wpe", graph.AddPosition{}, x, p.positions)
	} else {
		x = m.Apply("wpe", graph.AddPosition{}, x, p.positions, m.start)
	}
	return m.EndLayer(m.Dropout("drop", m.dropout, x, m.rng))
}

// block is x + attention(norm(x)), then x + mlp(norm(x)).
func (m *gpt) block(i int, x *G.Node) *G.Node {
	p := m.blockLayer(i)

	h := m.norm("ln_1", x, p.norm1)                        // [B, T, C]
	qkv := m.linear("attn.c_attn", inputFirst, h, p.qkv)   // [B, T, 3, H, D]
	a := m.attend(qkv)                                     // [B, T, H, D]
	a = m.linear("attn.c_proj", headsFirst, a, p.attnProj) // [B, T, C]
	x = m.residual("attn", x, a)

	h = m.norm("ln_2", x, p.norm2)                    // [B, T, C]
	h = m.linear("mlp.c_fc", inputFirst, h, p.up)     // [B, T, F]
	h = m.activate("mlp.act", h)                      // [B, T, F]
	h = m.linear("mlp.c_proj", inputFirst, h, p.down) // [B, T, C]
	return m.EndLayer(m.residual("mlp", x, h))
}

// attend is causal attention, over the cache when decoding.
func (m *gpt) attend(qkv *G.Node) *G.Node {
	const name = "attn.attention"
	if m.cache == 0 {
		return m.network.attention(name, graph.Attention{Causal: true, Packed: true}, qkv)
	}
	keys, values := m.cacheStates()
	a := m.Apply(name, graph.CachedAttention{}, qkv, keys.Node, values.Node, m.start)
	keys.Next, values.Next = m.Side(a, 0), m.Side(a, 1)
	return a
}

// head is norm(x) wte^T: [B, T, C] to [B, T, V].
func (m *gpt) head(x *G.Node) *G.Node {
	p := m.headLayer()
	return m.linear("lm_head", inputLast, m.norm("ln_f", x, p.norm), affine{weight: p.table})
}

// matrixParams counts c_attn, c_proj, the two of the feed-forward layer, and
// the head.
func (c *GPTConfig) matrixParams() int {
	return c.NLayer*(4*c.NEmbd*c.NEmbd+2*c.NEmbd*c.Inner()) + c.VocabSize*c.NEmbd
}
