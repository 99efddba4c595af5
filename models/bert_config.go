package models

// BERTConfig is the configuration of a BERT with its masked language model
// head, model type "bert". Fields have the names and meanings of transformers'
// BertConfig.
type BERTConfig struct {
	VocabSize             int     `json:"vocab_size"`              // V
	MaxPositionEmbeddings int     `json:"max_position_embeddings"` // P
	TypeVocabSize         int     `json:"type_vocab_size"`         // token types
	HiddenSize            int     `json:"hidden_size"`             // C
	NumHiddenLayers       int     `json:"num_hidden_layers"`       // L
	NumAttentionHeads     int     `json:"num_attention_heads"`     // H
	IntermediateSize      int     `json:"intermediate_size"`       // F
	HiddenAct             string  `json:"hidden_act"`              // of the feed-forward layer and the head
	LayerNormEps          float64 `json:"layer_norm_eps"`
	InitializerRange      float64 `json:"initializer_range"` // standard deviation of fresh weights
	// TieWordEmbeddings says that the head multiplies by the word embedding.
	// Otherwise it has a matrix of its own, cls.predictions.decoder.weight.
	TieWordEmbeddings bool `json:"tie_word_embeddings"`
	// The dropout rates say how the model was trained; Options.Dropout says
	// how it is built.
	HiddenDropoutProb         float64 `json:"hidden_dropout_prob"`
	AttentionProbsDropoutProb float64 `json:"attention_probs_dropout_prob"`
	PadTokenID                *int    `json:"pad_token_id"`

	source object // the config.json it was read from
}

var bertSchema = schema{
	required: []string{
		"vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
	},
	fixed: map[string]string{
		"is_decoder":              "false",
		"position_embedding_type": `"absolute"`,
	},
	harmless: []string{
		"directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head",
		"pooler_type",
	},
}

// bertDefaults are those of BertConfig for the keys that may be absent.
func bertDefaults() *BERTConfig {
	return &BERTConfig{
		TypeVocabSize: 2, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02, TieWordEmbeddings: true,
		HiddenDropoutProb: 0.1, AttentionProbsDropoutProb: 0.1, PadTokenID: new(0),
	}
}

// bertFields has BERTConfig's fields without its methods, for encoding/json.
type bertFields BERTConfig

func parseBERT(o object) (Config, error) {
	c := bertDefaults()
	c.source = o
	if p := decode(o, bertSchema, (*bertFields)(c)); len(p) > 0 {
		return nil, &ConfigError{Type: c.Type(), Problems: p}
	}
	return checked(c)
}

// MarshalJSON gives the config.json, with the keys it was read from.
func (c *BERTConfig) MarshalJSON() ([]byte, error) {
	return c.source.encode(c.Type(), "BertForMaskedLM", (*bertFields)(c))
}

// Type is "bert".
func (c *BERTConfig) Type() string { return "bert" }

// Vocab is V.
func (c *BERTConfig) Vocab() int { return c.VocabSize }

// MaxSeq is P.
func (c *BERTConfig) MaxSeq() int { return c.MaxPositionEmbeddings }

// Layers is L.
func (c *BERTConfig) Layers() int { return c.NumHiddenLayers }

// Width is C.
func (c *BERTConfig) Width() int { return c.HiddenSize }

// Tied says that the head multiplies by the table of the embedding.
func (c *BERTConfig) Tied() bool { return c.TieWordEmbeddings }

func (c *BERTConfig) unknownKeys() map[string]string {
	return c.source.strays(bertSchema, fieldsOf((*bertFields)(c)))
}

func (c *BERTConfig) resized(vocab, positions, blocks int) Config {
	r := *c
	r.VocabSize, r.MaxPositionEmbeddings, r.NumHiddenLayers = vocab, positions, blocks
	r.PadTokenID = inside(c.PadTokenID, vocab)
	return &r
}

func (c *BERTConfig) problems() problems {
	var p problems
	p.size("vocab_size", c.VocabSize, maxVocab)
	p.size("max_position_embeddings", c.MaxPositionEmbeddings, maxVocab)
	p.size("type_vocab_size", c.TypeVocabSize, maxVocab)
	p.size("hidden_size", c.HiddenSize, maxWidth)
	p.size("num_hidden_layers", c.NumHiddenLayers, maxLayers)
	p.size("num_attention_heads", c.NumAttentionHeads, maxWidth)
	p.size("intermediate_size", c.IntermediateSize, 4*maxWidth)
	p.heads("hidden_size", c.HiddenSize, "num_attention_heads", c.NumAttentionHeads)
	p.activation("hidden_act", c.HiddenAct)
	p.positive("layer_norm_eps", c.LayerNormEps)
	p.positive("initializer_range", c.InitializerRange)
	p.rate("hidden_dropout_prob", c.HiddenDropoutProb)
	p.rate("attention_probs_dropout_prob", c.AttentionProbsDropoutProb)
	return p
}
