package models

import (
	"fmt"
	"math"

	G "gorgonia.org/gorgonia"

	"github.com/galvani-ml/galvani/graph"
)

// The layers of GPT-2: the tensors each holds, named as transformers'
// GPT2LMHeadModel saves them.

type gptEmbedding struct{ tokens, positions *G.Node }

func (m *gpt) embeddingLayer() gptEmbedding {
	c := m.cfg
	m.Layer("embedding", "gpt2.embedding", "")
	return gptEmbedding{
		tokens:    m.vocabulary("wte.weight", c.weights(), c.VocabSize, c.NEmbd),
		positions: m.Param("wpe.weight", c.weights(), c.NPositions, c.NEmbd),
	}
}

type gptBlock struct {
	norm1, qkv, attnProj affine
	norm2, up, down      affine
}

func (m *gpt) blockLayer(i int) gptBlock {
	c := m.cfg
	name := fmt.Sprintf("h.%d", i)
	m.Layer(name, "gpt2.block", name+".")
	C, H, D, F := c.NEmbd, c.NHead, c.NEmbd/c.NHead, c.Inner()
	return gptBlock{
		norm1:    m.normParams("ln_1", C),
		qkv:      m.split(m.linearParams("attn.c_attn", c.weights(), []int{C, 3, H, D}, []int{C, 3 * C}, []int{3, H, D}), 2, 1),
		attnProj: m.split(m.linearParams("attn.c_proj", c.residualWeights(), []int{H, D, C}, []int{C, C}, []int{C}), 0),
		norm2:    m.normParams("ln_2", C),
		up:       m.split(m.linearParams("mlp.c_fc", c.weights(), []int{C, F}, []int{C, F}, []int{F}), 1, 0),
		down:     m.split(m.linearParams("mlp.c_proj", c.residualWeights(), []int{F, C}, []int{F, C}, []int{C}), 0),
	}
}

// cacheStates declares the cache of the current block.
func (m *gpt) cacheStates() (keys, values *graph.State) {
	B, H, D := m.tokens.Shape()[0], m.cfg.NHead, m.cfg.NEmbd/m.cfg.NHead
	return m.State("attn.keys", B, m.cache, H, D), m.State("attn.values", B, m.cache, H, D)
}

type gptHead struct {
	norm  affine
	table *G.Node // [V, C]
}

func (m *gpt) headLayer() gptHead {
	c := m.cfg
	m.Layer("head", "gpt2.head", "")
	h := gptHead{norm: m.normParams("ln_f", c.NEmbd), table: m.table}
	if !c.TieWordEmbeddings {
		h.table = m.vocabulary("lm_head.weight", c.weights(), c.VocabSize, c.NEmbd)
	}
	return h
}

// weights is how matrices and embeddings start.
func (c *GPTConfig) weights() graph.Init { return graph.Init{Std: c.InitializerRange} }

// residualWeights is how the last matrices of the 2L residual branches start:
// scaled so that the sum of the branches does not grow with L (Radford et al.,
// section 2.3).
func (c *GPTConfig) residualWeights() graph.Init {
	return graph.Init{Std: c.InitializerRange / math.Sqrt(float64(2*c.NLayer))}
}
