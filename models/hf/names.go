package hf

import (
	"regexp"
	"strings"

	"github.com/galvani-ml/galvani/models"
)

// naming is how the tensors of one type of model are named in the wild.
type naming struct {
	// canonical turns a name into the parameter's.
	canonical func(name string) string
	// skip matches what checkpoints hold beside the model: constants, and heads
	// that are not the language model's.
	skip *regexp.Regexp
	// twins maps names under which a tensor may be saved a second time to the
	// first.
	twins map[string]string
}

// namingOf returns the naming of cfg's type; names as they are for a type
// without peculiarities.
func namingOf(cfg models.Config) naming {
	switch c := cfg.(type) {
	case *models.GPTConfig:
		n := gptNaming
		if !c.TieWordEmbeddings {
			n.twins = nil
		}
		return n
	case *models.BERTConfig:
		n := bertNaming
		if !c.TieWordEmbeddings {
			n.twins = map[string]string{"cls.predictions.decoder.bias": "cls.predictions.bias"}
		}
		return n
	}
	return naming{canonical: func(name string) string { return name }, skip: regexp.MustCompile(`^$`)}
}

var gptNaming = naming{
	canonical: func(name string) string { return strings.TrimPrefix(name, "transformer.") },
	skip:      regexp.MustCompile(`^h\.\d+\.attn\.(bias|masked_bias)$`), // the causal mask
	twins:     map[string]string{"lm_head.weight": "wte.weight"},
}

var bertNaming = naming{
	canonical: bertName,
	skip:      regexp.MustCompile(`^bert\.embeddings\.(position_ids|token_type_ids)$|^bert\.pooler\.|^cls\.seq_relationship\.`),
	twins: map[string]string{
		"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
		"cls.predictions.decoder.bias":   "cls.predictions.bias",
	},
}

// bertName adds the prefix that a BertModel without head is saved without, and
// gives norms the names that replaced TensorFlow's gamma and beta.
func bertName(name string) string {
	for _, part := range []string{"embeddings.", "encoder.", "pooler."} {
		if strings.HasPrefix(name, part) {
			name = "bert." + name
		}
	}
	if base, ok := strings.CutSuffix(name, "LayerNorm.gamma"); ok {
		return base + "LayerNorm.weight"
	}
	if base, ok := strings.CutSuffix(name, "LayerNorm.beta"); ok {
		return base + "LayerNorm.bias"
	}
	return name
}
