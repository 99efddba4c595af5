package models_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/galvani-ml/galvani/internal/shared"
	"github.com/galvani-ml/galvani/models"
)

const (
	smallGPT  = `"model_type":"gpt2","vocab_size":5,"n_positions":4,"n_embd":6,"n_layer":1,"n_head":2`
	smallBERT = `"model_type":"bert","vocab_size":5,"max_position_embeddings":4,"hidden_size":6,"num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":8`
)

// TestConfigErrors holds the whole text of each error.
func TestConfigErrors(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"no JSON", `[1]`, `models: config: not a JSON object: json: cannot unmarshal array into Go value of type models.object`},
		{"no type", `{}`, `models: config: "model_type" is missing; supported: bert, gpt2`},
		{"unknown type", `{"model_type":"llama"}`, `models: config: model type "llama" is unknown; supported: bert, gpt2`},
		{"type of another type", `{"model_type":3}`, `models: config: "model_type" is not a string; supported: bert, gpt2`},
		{"missing, one misspelt", `{"model_type":"gpt2","vocab_size":5,"n_positions":4,"n_layers":1,"n_head":2}`,
			`models: gpt2 config: "n_embd" is missing; "n_layer" is missing ("n_layers" is there)`},
		{"null", `{` + smallGPT + `,"vocab_size":null}`, `models: gpt2 config: "vocab_size" is missing`},
		{"wrong JSON type", `{` + smallGPT + `,"n_inner":"big","tie_word_embeddings":1}`,
			`models: gpt2 config: "n_inner" is a string, needs int; "tie_word_embeddings" is a number, needs bool`},
		{"heads", `{` + smallGPT + `,"n_head":4}`, `models: gpt2 config: "n_embd" 6 is not divisible by "n_head" 4`},
		{"sizes", `{` + smallGPT + `,"n_layer":0,"vocab_size":-3}`,
			`models: gpt2 config: "vocab_size" is -3, needs 1 to 268435456; "n_layer" is 0, needs 1 to 4096`},
		{"activation", `{` + smallGPT + `,"activation_function":"relu"}`,
			`models: gpt2 config: "activation_function" is "relu"; supported: gelu, gelu_fast, gelu_new, gelu_python, gelu_pytorch_tanh, silu, swish`},
		{"rates", `{` + smallGPT + `,"embd_pdrop":1,"layer_norm_epsilon":0}`,
			`models: gpt2 config: "layer_norm_epsilon" is 0, needs more than 0 and at most 1; "embd_pdrop" is 1, needs 0 or more and less than 1`},
		{"other mathematics", `{` + smallGPT + `,"scale_attn_by_inverse_layer_idx":true,"add_cross_attention": true,"pruned_heads":{"1": [0]}}`,
			`models: gpt2 config: "add_cross_attention" is true, only false is supported; "pruned_heads" is {"1":[0]}, only {} is supported; ` +
				`"scale_attn_by_inverse_layer_idx" is true, only false is supported`},
		{"bert", `{` + smallBERT + `,"position_embedding_type":"relative_key","is_decoder":true}`,
			`models: bert config: "is_decoder" is true, only false is supported; "position_embedding_type" is "relative_key", only "absolute" is supported`},
		{"bert heads", `{` + smallBERT + `,"num_attention_heads":4}`,
			`models: bert config: "hidden_size" 6 is not divisible by "num_attention_heads" 4`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := models.ParseConfig([]byte(c.config))
			if e := (*models.ConfigError)(nil); !errors.As(err, &e) {
				t.Fatalf("%T %v", err, err)
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestConfigRoundTrip shows that writing a config.json keeps each key and
// value, known or not, and that reading it again gives the same.
func TestConfigRoundTrip(t *testing.T) {
	for _, path := range [][]string{
		{"data", "tiny_gpt2", "config.json"}, {"cases", "parity", "gpt2", "config.json"}, {"cases", "parity", "bert", "config.json"},
	} {
		t.Run(strings.Join(path[:len(path)-1], "/"), func(t *testing.T) {
			data, err := os.ReadFile(shared.Path(t, path...))
			if err != nil {
				t.Fatal(err)
			}
			checkRoundTrip(t, data)
		})
	}
	checkRoundTrip(t, []byte(`{`+smallGPT+`,"n_inner":7,"house":{"of":["cards",1e400]},"layer_norm_epsilon":1e-05}`))
}

func checkRoundTrip(t *testing.T, data []byte) {
	t.Helper()
	cfg, err := models.ParseConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var before, after map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(data, &before), json.Unmarshal(out, &after)); err != nil {
		t.Fatal(err)
	}
	for key, v := range before {
		var want bytes.Buffer
		if err := json.Compact(&want, v); err != nil {
			t.Fatal(err)
		}
		if want.String() != string(after[key]) {
			t.Errorf("%q was %s, is written as %s", key, &want, after[key])
		}
	}
	again, err := models.ParseConfig(out)
	if err != nil {
		t.Fatal(err)
	}
	if out2, err := json.Marshal(again); err != nil || !bytes.Equal(out, out2) {
		t.Errorf("written a second time: %s, was %s (%v)", out2, out, err)
	}
}

func TestWarnings(t *testing.T) {
	cfg, err := models.ParseConfig([]byte(`{` + smallGPT + `,"n_iner":24,"tie_word_embedding":false,"tokenizer_class":"X","n_ctx":4,"N_INNER":9}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`config.json: unknown key "n_iner" is ignored: did you mean "n_inner"?`,
		`config.json: unknown key "tie_word_embedding" is ignored: did you mean "tie_word_embeddings"?`,
	}
	if diff := cmp.Diff(want, models.Warnings(cfg)); diff != "" {
		t.Error(diff)
	}
	if inner := cfg.(*models.GPTConfig).Inner(); inner != 24 {
		t.Errorf("inner width %d: a key of other case was read", inner)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{` + smallGPT + `,"n_inner":null}`))
	f.Add([]byte(`{` + smallBERT + `,"pruned_heads":{}}`))
	f.Add([]byte(`{"model_type":"gpt2","n_embd":1e99}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := models.ParseConfig(data)
		if err != nil {
			return
		}
		models.Warnings(cfg)
		out, err := json.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := models.ParseConfig(out); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	})
}
