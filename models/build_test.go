package models_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// TestInputs shows that a graph has only the inputs it uses.
func TestInputs(t *testing.T) {
	for _, c := range []struct {
		cfg     models.Config
		options models.Options
		want    []string
	}{
		{tinyGPT(true), models.Options{}, []string{"tokens"}},
		{tinyGPT(true), models.Options{Train: true, Dropout: 0.1, Mask: true}, []string{"tokens", "mask", "rng", "targets", "scale"}},
		{tinyBERT(true), models.Options{}, []string{"tokens", "token_types"}},
		{tinyBERT(true), models.Options{Train: true, Mask: true}, []string{"tokens", "mask", "targets", "scale", "token_types"}},
	} {
		c.options.Batch, c.options.Seq = 1, 2
		m, err := models.Build(c.cfg, c.options)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, in := range m.Inputs {
			got = append(got, in.Name)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
		end := m.Loss
		if end == nil {
			end = m.Logits
		}
		used := map[string]bool{}
		for _, n := range graph.Order(end) {
			used[n.Name()] = true
		}
		for _, name := range got {
			if !used[name] {
				t.Errorf("%s: input %s is not used", c.cfg.Type(), name)
			}
		}
	}
}

func TestOptionErrors(t *testing.T) {
	gpt, bert := tinyGPT(true), tinyBERT(true)
	decoder := func(cfg models.Config, batch, tokens, cache int) error {
		_, err := models.BuildDecoder(cfg, models.DecodeOptions{Batch: batch, Tokens: tokens, Cache: cache})
		return err
	}
	build := func(cfg models.Config, o models.Options) error {
		_, err := models.Build(cfg, o)
		return err
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{build(gpt, models.Options{}), "models: gpt2: batch 0 and sequence length 0 must be positive"},
		{build(gpt, models.Options{Batch: 1, Seq: 7}), "models: gpt2: sequence length 7 exceeds the model's 6 positions"},
		{build(bert, models.Options{Batch: 1, Seq: 2, Dropout: 1}), "models: bert: dropout 1 is not in [0, 1)"},
		{build(&models.GPTConfig{}, models.Options{Batch: 1, Seq: 7}), `models: gpt2 config: "vocab_size" is 0, needs 1 to 268435456; ` +
			`"n_positions" is 0, needs 1 to 268435456; "n_embd" is 0, needs 1 to 1048576; "n_layer" is 0, needs 1 to 4096; ` +
			`"n_head" is 0, needs 1 to 1048576; "n_inner" is 0, needs 1 to 4194304; "activation_function" is ""; supported: gelu, ` +
			`gelu_fast, gelu_new, gelu_python, gelu_pytorch_tanh, silu, swish; "layer_norm_epsilon" is 0, needs more than 0 and ` +
			`at most 1; "initializer_range" is 0, needs more than 0 and at most 1`},
		{decoder(bert, 1, 1, 1), "models: bert has no decoder: only causal models generate"},
		{decoder(gpt, 1, 0, 3), "models: gpt2: batch 1 and tokens 0 must be positive"},
		{decoder(gpt, 1, 4, 3), "models: gpt2: 4 tokens do not fit a cache of 3"},
		{decoder(gpt, 1, 4, 7), "models: gpt2: a cache of 7 exceeds the model's 6 positions"},
	} {
		if c.err == nil || c.err.Error() != c.want {
			t.Errorf("%v, want %s", c.err, c.want)
		}
	}
}
