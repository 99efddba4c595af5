package bench

import (
	"fmt"

	"github.com/galvani-ml/galvani/models"
)

// searchModel is a list of layers that plans are sought for.
type searchModel struct {
	Label   string
	Note    string
	Each    []int         // samples of a batch, for each device
	Layers  []searchLayer // the kinds in their order: the embedding, blocks, the head
	Tied    bool
	Unequal bool // blocks are of several kinds
}

// searchLayer is a kind of layer, read off a model of such layers.
type searchLayer struct {
	Name   string
	Count  int
	Part   layerPart
	Config models.Config // of the model that it is read off
	Seq    int           // tokens of its sequences
	Rows   int           // sequences a sample
	Times  int           // how many blocks of the model it is made of
	Hands  int           // elements of activation that it hands on, a sample
}

// layerPart is what a layer is of the model that it is read off.
type layerPart int

const (
	partEmbedding layerPart = iota
	partBlock
	partHead
)

// searchModels are those of the suite search.
func searchModels() []searchModel {
	return []searchModel{
		likeLayers("bert-huge-32", "BERT-Huge, 32 layers of width 1280, 512 tokens", presetOf("bert-huge-32"), 512, 2, 8),
		likeLayers("bert-huge-48", "BERT-Huge, 48 layers of width 1280, 512 tokens", presetOf("bert-huge-48"), 512, 2, 8),
		likeLayers("gpt-1.5b", "48 layers of width 1600, 32 heads of 50 (GPT-2 XL has 25 of 64, which tensor parallelism cannot divide), 1,024 tokens", gpt15(), 1024, 2, 8),
		likeLayers("gpt-2.7b", "GPT-3 2.7B: 32 layers of width 2560, 2,048 tokens", presetOf("gpt3-2.7b"), 2048, 1, 4),
		likeLayers("gpt-6.7b", "GPT-3 6.7B: 32 layers of width 4096, 2,048 tokens", presetOf("gpt3-6.7b"), 2048, 1, 4),
		likeLayers("gpt-13b", "GPT-3 13B: 40 layers of width 5120, 2,048 tokens", presetOf("gpt3-13b"), 2048, 1, 4),
		likeLayers("gpt-39b", "Megatron's 39B: 48 layers of width 8192, 2,048 tokens", presetOf("gpt-39b"), 2048, 1, 4),
		t5Like(16), t5Like(24), swinLike(26), swinLike(42),
	}
}

// SearchModels are the names of the models of the suite search.
func SearchModels() []string {
	var names []string
	for _, m := range searchModels() {
		names = append(names, m.Label)
	}
	return names
}

// presetOf is a preset that is known to be there.
func presetOf(name string) models.Config {
	c, err := models.Preset(name)
	if err != nil {
		panic(err)
	}
	return c
}

// gpt15 is GPT-2 XL with heads that divide.
func gpt15() models.Config {
	c := *presetOf("gpt2-xl").(*models.GPTConfig)
	c.NHead = 32
	return &c
}

// likeLayers is a model whose blocks are alike.
func likeLayers(label, note string, c models.Config, seq int, each ...int) searchModel {
	l := searchLayer{Config: c, Seq: seq, Rows: 1, Times: 1, Hands: seq * c.Width()}
	return searchModel{Label: label, Note: note, Each: each, Tied: c.Tied(), Layers: []searchLayer{
		l.as("embedding", partEmbedding, 1), l.as("block", partBlock, c.Layers()), l.as("head", partHead, 1),
	}}
}

// as is so many layers of a part of the model.
func (l searchLayer) as(name string, part layerPart, count int) searchLayer {
	l.Name, l.Part, l.Count = name, part, count
	return l
}

// t5Like has as many encoder as decoder layers, of the width of T5-Large and 512
// tokens. A decoder layer is two causal blocks of half the inner width: that gives
// it the parameters, products and two attentions of one with attention across,
// and one exchange of tensor parallelism more. It hands on the encoder's output
// beside its own.
func t5Like(each int) searchModel {
	const width, seq, heads, vocab = 1024, 512, 16, 32128
	encoder := searchLayer{Config: bertLike(width, heads, vocab, seq), Seq: seq, Rows: 1, Times: 1, Hands: seq * width}
	inner := 2 * width
	decoder := searchLayer{Config: &models.GPTConfig{
		VocabSize: vocab, NPositions: seq, NEmbd: width, NLayer: 1, NHead: heads, NInner: &inner,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.02,
	}, Seq: seq, Rows: 1, Times: 2, Hands: 2 * seq * width}
	return searchModel{
		Label: fmt.Sprintf("t5-like-%d", 2*each),
		Note:  fmt.Sprintf("like T5-Large: %d encoder and %d decoder layers of width 1024, 512 tokens each", each, each),
		Each:  []int{2, 8}, Unequal: true,
		Layers: []searchLayer{
			encoder.as("embedding", partEmbedding, 1), encoder.as("encoder", partBlock, each),
			decoder.as("decoder", partBlock, each), decoder.as("head", partHead, 1),
		},
	}
}

// swinLike has the four stages of Swin-Huge, with windows of 49 tokens: 64 a
// sample in the first stage, and then a quarter of them at twice the width. Heads
// have 40 elements, so that 8 devices can share them. Merging of patches is left
// out.
func swinLike(third int) searchModel {
	const window, classes = 49, 1000
	m := searchModel{
		Label: fmt.Sprintf("swin-like-%d", third+6),
		Note:  fmt.Sprintf("like Swin-Huge: 2, 2, %d and 2 layers of width 320, 640, 1280 and 2560, 3,136 tokens of an image in windows of 49, then a quarter each time", third),
		Each:  []int{4, 16}, Unequal: true,
	}
	var last searchLayer
	for i, depth := range []int{2, 2, third, 2} {
		width, windows := 320<<i, 64>>(2*i)
		l := searchLayer{Config: bertLike(width, width/40, classes, window), Seq: window, Rows: windows, Times: 1, Hands: windows * window * width}
		if i == 0 {
			m.Layers = append(m.Layers, l.as("embedding", partEmbedding, 1))
		}
		m.Layers = append(m.Layers, l.as(fmt.Sprintf("stage %d", i+1), partBlock, depth))
		last = l
	}
	m.Layers = append(m.Layers, last.as("head", partHead, 1))
	return m
}

// bertLike is a BERT that blocks are read off.
func bertLike(width, heads, vocab, seq int) models.Config {
	return &models.BERTConfig{
		VocabSize: vocab, MaxPositionEmbeddings: seq, TypeVocabSize: 2, HiddenSize: width, NumHiddenLayers: 1, NumAttentionHeads: heads,
		IntermediateSize: 4 * width, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02,
	}
}

// batches are the sizes of a step on so many devices.
func (m *searchModel) batches(devices int) []int {
	var all []int
	for _, n := range m.Each {
		all = append(all, n*devices)
	}
	return all
}
