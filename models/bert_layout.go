package models

import (
	"fmt"

	G "gorgonia.org/gorgonia"

	"github.com/galvani-ml/galvani/graph"
)

// The layers of BERT: the tensors each holds, named as transformers'
// BertForMaskedLM saves them.

type bertEmbedding struct {
	words, positions, types *G.Node
	norm                    affine
}

func (m *bert) embeddingLayer() bertEmbedding {
	c := m.cfg
	m.Layer("embedding", "bert.embedding", "bert.embeddings.")
	return bertEmbedding{
		words:     m.vocabulary("word_embeddings.weight", c.weights(), c.VocabSize, c.HiddenSize),
		positions: m.Param("position_embeddings.weight", c.weights(), c.MaxPositionEmbeddings, c.HiddenSize),
		types:     m.Param("token_type_embeddings.weight", c.weights(), c.TypeVocabSize, c.HiddenSize),
		norm:      m.normParams("LayerNorm", c.HiddenSize),
	}
}

type bertBlock struct {
	query, key, value, attnProj, norm1 affine
	up, down, norm2                    affine
}

func (m *bert) blockLayer(i int) bertBlock {
	c := m.cfg
	name := fmt.Sprintf("layer.%d", i)
	m.Layer(name, "bert.block", "bert.encoder."+name+".")
	C, H, D, F := c.HiddenSize, c.NumAttentionHeads, c.HiddenSize/c.NumAttentionHeads, c.IntermediateSize
	toHeads := func(name string) affine {
		return m.split(m.linearParams(name, c.weights(), []int{H, D, C}, []int{C, C}, []int{H, D}), 0, 0)
	}
	return bertBlock{
		query:    toHeads("attention.self.query"),
		key:      toHeads("attention.self.key"),
		value:    toHeads("attention.self.value"),
		attnProj: m.split(m.linearParams("attention.output.dense", c.weights(), []int{C, H, D}, []int{C, C}, []int{C}), 1),
		norm1:    m.normParams("attention.output.LayerNorm", C),
		up:       m.split(m.linearParams("intermediate.dense", c.weights(), []int{F, C}, []int{F, C}, []int{F}), 0, 0),
		down:     m.split(m.linearParams("output.dense", c.weights(), []int{C, F}, []int{C, F}, []int{C}), 1),
		norm2:    m.normParams("output.LayerNorm", C),
	}
}

type bertHead struct{ dense, norm, decoder affine }

func (m *bert) headLayer() bertHead {
	c := m.cfg
	m.Layer("head", "bert.head", "cls.predictions.")
	C, V := c.HiddenSize, c.VocabSize
	h := bertHead{
		dense:   m.linearParams("transform.dense", c.weights(), []int{C, C}, []int{C, C}, []int{C}),
		norm:    m.normParams("transform.LayerNorm", C),
		decoder: affine{weight: m.table, bias: m.Param("bias", zeros, V)},
	}
	m.Split(h.decoder.bias, 0)
	if !c.TieWordEmbeddings {
		h.decoder.weight = m.vocabulary("decoder.weight", c.weights(), V, C)
	}
	return h
}

// weights is how matrices and embeddings start.
func (c *BERTConfig) weights() graph.Init { return graph.Init{Std: c.InitializerRange} }
