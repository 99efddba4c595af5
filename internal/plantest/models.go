// Package plantest has what tests of plans share: small models whose dimensions
// many plans divide, and random plans for them.
package plantest

import "github.com/galvani-ml/galvani/models"

const (
	// Seq is the number of positions of every model.
	Seq = 24
	// Blocks is the number of blocks of every model.
	Blocks = 4

	width = 48
	heads = 24 // divides by 2, 3, 4, 6 and 8, as the widths and the sequence do
)

// Model is a model that plans are drawn for.
type Model struct {
	Name   string
	Config models.Config
}

// Models are GPT and BERT, with a vocabulary that divides by up to 8 ranks and
// with one that does not, with the head tied to the embedding and without.
func Models() []Model {
	const even, odd = 48, 29
	return []Model{
		{"gpt", gpt(even, true)},
		{"gpt-odd", gpt(odd, true)},
		{"gpt-untied", gpt(even, false)},
		{"bert", bert(even, 72, true)},
		{"bert-odd-untied", bert(odd, 70, false)},
	}
}

func gpt(vocab int, tied bool) models.Config {
	return &models.GPTConfig{
		VocabSize: vocab, NPositions: Seq, NEmbd: width, NLayer: Blocks, NHead: heads,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.1, TieWordEmbeddings: tied,
	}
}

func bert(vocab, inner int, tied bool) models.Config {
	return &models.BERTConfig{
		VocabSize: vocab, MaxPositionEmbeddings: Seq, HiddenSize: width, NumHiddenLayers: Blocks, NumAttentionHeads: heads,
		IntermediateSize: inner, TypeVocabSize: 2, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.1, TieWordEmbeddings: tied,
	}
}
