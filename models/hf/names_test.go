package hf_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nlpodyssey/safetensors"

	"github.com/galvani-ml/galvani/models/hf"
)

const f32 = safetensors.F32

// renamed returns all with each name changed.
func renamed(all map[string]raw, change func(string) string) map[string]raw {
	out := map[string]raw{}
	for name, v := range all {
		out[change(name)] = v
	}
	return out
}

// with returns all with more in it.
func with(all map[string]raw, name string, v raw) map[string]raw {
	out := renamed(all, func(s string) string { return s })
	out[name] = v
	return out
}

// filled is v with other values than zero.
func filled(v raw) raw {
	data := make([]byte, len(v.data))
	for i := range data {
		data[i] = 1
	}
	return raw{v.dtype, v.shape, data}
}

// TestAccepted opens what transformers and others write.
func TestAccepted(t *testing.T) {
	gpt, bert := tensors(t, parse(t, gptConfig)), tensors(t, parse(t, bertConfig))
	prefixed := func(name string) string { return "transformer." + name }
	old := strings.NewReplacer("LayerNorm.weight", "LayerNorm.gamma", "LayerNorm.bias", "LayerNorm.beta")
	const decoder = "cls.predictions.decoder."
	for _, c := range []struct {
		name, config string
		all          map[string]raw
	}{
		{"gpt", gptConfig, gpt},
		{"gpt with prefix", gptConfig, renamed(gpt, prefixed)},
		{"gpt with masks", gptConfig, with(with(renamed(gpt, prefixed), "transformer.h.0.attn.bias", zeros(safetensors.BOOL, 1, 1, 4, 4)),
			"transformer.h.0.attn.masked_bias", zeros(f32))},
		{"gpt with its tied head", gptConfig, with(gpt, "lm_head.weight", zeros(f32, 5, 4))},
		{"gpt with its tied head alone", gptConfig, renamed(gpt, func(name string) string {
			return strings.Replace(name, "wte.weight", "lm_head.weight", 1)
		})},
		{"gpt in bfloat16", gptConfig, with(gpt, "wte.weight", zeros(safetensors.BF16, 5, 4))},
		{"bert", bertConfig, bert},
		{"bert of TensorFlow", bertConfig, renamed(bert, old.Replace)},
		{"bert with other heads", bertConfig, with(with(bert, "bert.pooler.dense.weight", zeros(f32, 4, 4)), "cls.seq_relationship.bias", zeros(f32, 2))},
		{"bert with position ids", bertConfig, with(bert, "bert.embeddings.position_ids", zeros(safetensors.I64, 1, 4))},
		{"bert with its tied decoder", bertConfig, with(with(bert, decoder+"weight", zeros(f32, 5, 4)), decoder+"bias", zeros(f32, 5))},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t, directory(t, c.config, c.all))
			if err := d.Check(build(t, d.Config)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestUntied shows that an untied model wants the head as its own.
func TestUntied(t *testing.T) {
	for _, config := range []string{gptConfig, bertConfig} {
		config = strings.TrimSuffix(config, "}") + `,"tie_word_embeddings":false}`
		cfg := parse(t, config)
		d := open(t, directory(t, config, tensors(t, cfg)))
		if err := d.Check(build(t, cfg)); err != nil {
			t.Error(err)
		}
	}
}

// TestMismatch holds the whole text of an error with every kind of mismatch.
func TestMismatch(t *testing.T) {
	all := tensors(t, parse(t, gptConfig))
	delete(all, "ln_f.bias")
	delete(all, "h.0.ln_1.weight")
	all["h.1.ln_1.weight"] = zeros(f32, 4)
	all["wpe.weight"] = zeros(f32, 3, 4)
	all["h.0.mlp.c_fc.bias"] = zeros(safetensors.I32, 16)
	all["lm_head.weight"] = filled(zeros(f32, 5, 4))
	dir := directory(t, gptConfig, all)
	d := open(t, dir)
	err := d.Check(build(t, d.Config))
	e := (*hf.MismatchError)(nil)
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	want := `models/hf: DIR: the tensors are not those of config.json's model
  missing (2):
    h.0.ln_1.weight [4]
    ln_f.bias [4]
  unexpected (1):
    h.1.ln_1.weight [4]
  wrong shape (1):
    wpe.weight [3 4], the model has [4 4]
  wrong type (1):
    h.0.mlp.c_fc.bias I32, needs F32, F16 or BF16
  not tied (1):
    lm_head.weight differs from wte.weight; to train them apart set "tie_word_embeddings" to false`
	if diff := cmp.Diff(want, strings.ReplaceAll(err.Error(), dir, "DIR")); diff != "" {
		t.Error(diff)
	}
	if err := d.Load("h.0.mlp.c_fc.bias", make([]float32, 16)); err == nil {
		t.Error("integers are read as numbers")
	}
}

// TestLongMismatch shows that a list is cut, its length told.
func TestLongMismatch(t *testing.T) {
	cfg := parse(t, strings.Replace(gptConfig, `"n_layer":1`, `"n_layer":4`, 1))
	d := open(t, directory(t, gptConfig, tensors(t, parse(t, gptConfig))))
	err := d.Check(build(t, cfg))
	if err == nil || !strings.Contains(err.Error(), "missing (36):") || !strings.HasSuffix(err.Error(), "\n    and 16 more") {
		t.Error(err)
	}
}
