package models

// GPTConfig is the configuration of a GPT-2, model type "gpt2". Fields have
// the names and meanings of transformers' GPT2Config.
type GPTConfig struct {
	VocabSize          int     `json:"vocab_size"`          // V
	NPositions         int     `json:"n_positions"`         // P
	NEmbd              int     `json:"n_embd"`              // C
	NLayer             int     `json:"n_layer"`             // L
	NHead              int     `json:"n_head"`              // H
	NInner             *int    `json:"n_inner"`             // F; nil means 4C
	ActivationFunction string  `json:"activation_function"` // of the feed-forward layer
	LayerNormEpsilon   float64 `json:"layer_norm_epsilon"`
	InitializerRange   float64 `json:"initializer_range"` // standard deviation of fresh weights
	// TieWordEmbeddings says that the head multiplies by the token embedding.
	// Otherwise it has a matrix of its own, lm_head.weight [V, C].
	TieWordEmbeddings bool `json:"tie_word_embeddings"`
	// The dropout rates say how the model was trained; Options.Dropout says
	// how it is built.
	EmbdPdrop  float64 `json:"embd_pdrop"`
	ResidPdrop float64 `json:"resid_pdrop"`
	AttnPdrop  float64 `json:"attn_pdrop"`
	BosTokenID *int    `json:"bos_token_id"`
	EosTokenID *int    `json:"eos_token_id"`

	source object // the config.json it was read from
}

var gptSchema = schema{
	required: []string{"vocab_size", "n_positions", "n_embd", "n_layer", "n_head"},
	fixed: map[string]string{
		"scale_attn_weights":              "true",
		"scale_attn_by_inverse_layer_idx": "false",
		"position_embedding_type":         `"absolute"`,
	},
	harmless: []string{
		"n_ctx", "reorder_and_upcast_attn", "summary_activation", "summary_first_dropout", "summary_proj_to_labels",
		"summary_type", "summary_use_proj", "output_past",
	},
}

// gptDefaults are those of GPT2Config for the keys that may be absent.
func gptDefaults() *GPTConfig {
	return &GPTConfig{
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: true,
		EmbdPdrop: 0.1, ResidPdrop: 0.1, AttnPdrop: 0.1,
	}
}

// gptFields has GPTConfig's fields without its methods, for encoding/json.
type gptFields GPTConfig

func parseGPT(o object) (Config, error) {
	c := gptDefaults()
	c.source = o
	if p := decode(o, gptSchema, (*gptFields)(c)); len(p) > 0 {
		return nil, &ConfigError{Type: c.Type(), Problems: p}
	}
	return checked(c)
}

// MarshalJSON gives the config.json, with the keys it was read from.
func (c *GPTConfig) MarshalJSON() ([]byte, error) {
	return c.source.encode(c.Type(), "GPT2LMHeadModel", (*gptFields)(c))
}

// Type is "gpt2".
func (c *GPTConfig) Type() string { return "gpt2" }

// Vocab is V.
func (c *GPTConfig) Vocab() int { return c.VocabSize }

// MaxSeq is P.
func (c *GPTConfig) MaxSeq() int { return c.NPositions }

// Layers is L.
func (c *GPTConfig) Layers() int { return c.NLayer }

// Width is C.
func (c *GPTConfig) Width() int { return c.NEmbd }

// Tied says that the head multiplies by the table of the embedding.
func (c *GPTConfig) Tied() bool { return c.TieWordEmbeddings }

// Inner is F, the width of the feed-forward layer.
func (c *GPTConfig) Inner() int {
	if c.NInner != nil {
		return *c.NInner
	}
	return 4 * c.NEmbd
}

func (c *GPTConfig) unknownKeys() map[string]string {
	return c.source.strays(gptSchema, fieldsOf((*gptFields)(c)))
}

func (c *GPTConfig) resized(vocab, positions, blocks int) Config {
	r := *c
	r.VocabSize, r.NPositions, r.NLayer = vocab, positions, blocks
	r.BosTokenID, r.EosTokenID = inside(c.BosTokenID, vocab), inside(c.EosTokenID, vocab)
	return &r
}

func (c *GPTConfig) problems() problems {
	var p problems
	p.size("vocab_size", c.VocabSize, maxVocab)
	p.size("n_positions", c.NPositions, maxVocab)
	p.size("n_embd", c.NEmbd, maxWidth)
	p.size("n_layer", c.NLayer, maxLayers)
	p.size("n_head", c.NHead, maxWidth)
	p.size("n_inner", c.Inner(), 4*maxWidth)
	p.heads("n_embd", c.NEmbd, "n_head", c.NHead)
	p.activation("activation_function", c.ActivationFunction)
	p.positive("layer_norm_epsilon", c.LayerNormEpsilon)
	p.positive("initializer_range", c.InitializerRange)
	p.rate("embd_pdrop", c.EmbdPdrop)
	p.rate("resid_pdrop", c.ResidPdrop)
	p.rate("attn_pdrop", c.AttnPdrop)
	return p
}
