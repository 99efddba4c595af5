package models_test

import (
	"encoding/json"
	"testing"

	"github.com/galvani-ml/galvani/models"
)

// TestPresets builds every preset, shape-only, and counts its parameters. The
// counts of GPT-2 and of BERT with its head, whose decoder is tied, are those
// of transformers' models.
func TestPresets(t *testing.T) {
	sizes := map[string]int{
		"gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200,
		// As transformers counts GPT-2 of these sizes.
		"gpt3-2.7b": 12*32*2560*2560 + 13*32*2560 + (50257+2048+2)*2560,
		"gpt3-175b": 12*96*12288*12288 + 13*96*12288 + (50257+2048+2)*12288,
		"bert-base": 109_514_298, "bert-large": 335_174_458,
	}
	for _, name := range models.Presets() {
		cfg := preset(t, name)
		m, err := models.Build(cfg, models.Options{Batch: 1, Seq: cfg.MaxSeq(), Train: true})
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := sizes[name]; ok && m.NumParams() != want {
			t.Errorf("%s has %d parameters, want %d", name, m.NumParams(), want)
		}
		if len(m.Layers) != cfg.Layers()+2 {
			t.Errorf("%s has %d layers", name, len(m.Layers))
		}
		data, err := json.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		again, err := models.ParseConfig(data)
		if err != nil {
			t.Fatal(err)
		}
		if data2, err := json.Marshal(again); err != nil || string(data2) != string(data) {
			t.Errorf("%s: %s, read and written again %s (%v)", name, data, data2, err)
		}
	}
}

func preset(t testing.TB, name string) models.Config {
	t.Helper()
	cfg, err := models.Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestUnknownPreset(t *testing.T) {
	const list = `presets: gpt-nano, gpt-micro, gpt-mini, gpt2, gpt2-medium, gpt2-large, gpt2-xl, ` +
		`gpt3-2.7b, gpt3-6.7b, gpt3-13b, gpt-39b, gpt3-175b, bert-tiny, bert-base, bert-large, bert-huge-32, bert-huge-48`
	for name, want := range map[string]string{
		"gpt2-lrage": `models: no model is named "gpt2-lrage"; did you mean "gpt2-large"? ` + list,
		"llama-7b":   `models: no model is named "llama-7b"; ` + list,
	} {
		if _, err := models.Preset(name); err == nil || err.Error() != want {
			t.Errorf("%v", err)
		}
	}
}

func TestResize(t *testing.T) {
	base := preset(t, "gpt2")
	small, err := models.WithVocab(base, 300)
	if err != nil {
		t.Fatal(err)
	}
	small, err = models.WithPositions(small, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := small.(*models.GPTConfig)
	if c.Vocab() != 300 || c.MaxSeq() != 2048 || c.EosTokenID != nil || base.Vocab() != 50257 {
		t.Errorf("%+v", c)
	}
	if _, err := models.WithVocab(base, 0); err == nil {
		t.Error("an empty vocabulary is accepted")
	}
	if _, err := models.WithPositions(preset(t, "bert-tiny"), -1); err == nil {
		t.Error("-1 positions are accepted")
	}
}

// TestWithBlocks changes the number of blocks and nothing else.
func TestWithBlocks(t *testing.T) {
	for _, name := range []string{"gpt2", "bert-base"} {
		base := preset(t, name)
		few, err := models.WithBlocks(base, 3)
		if err != nil {
			t.Fatal(err)
		}
		if few.Layers() != 3 || base.Layers() != 12 || few.Vocab() != base.Vocab() || few.MaxSeq() != base.MaxSeq() || few.Width() != base.Width() {
			t.Errorf("%s: %+v", name, few)
		}
		if _, err := models.WithBlocks(base, 0); err == nil {
			t.Errorf("%s: no blocks are accepted", name)
		}
	}
}
