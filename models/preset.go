package models

import (
	"fmt"
	"slices"
	"strings"
)

// presets are the sizes of published models, smallest first within a family:
// those of minGPT (with GPT-2's vocabulary and tied head), Radford et al.:
// Language Models are Unsupervised Multitask Learners (2019), Brown et al.:
// Language Models are Few-Shot Learners (2020) for gpt3 (with 5,120 for the
// 5,140 that its table has by mistake: 40 heads of 128), Narayanan et al.:
// Efficient Large-Scale Language Model Training on GPU Clusters (2021) for
// gpt-39b, Devlin et al.: BERT (2018), Turc et al.: Well-Read Students Learn
// Better (2019) for bert-tiny, and Miao et al.: Galvatron (2022) for bert-huge.
var presets = []struct {
	name   string
	config func() Config
}{
	{"gpt-nano", gptOf(3, 3, 48)},
	{"gpt-micro", gptOf(4, 4, 128)},
	{"gpt-mini", gptOf(6, 6, 192)},
	{"gpt2", gptOf(12, 12, 768)},
	{"gpt2-medium", gptOf(24, 16, 1024)},
	{"gpt2-large", gptOf(36, 20, 1280)},
	{"gpt2-xl", gptOf(48, 25, 1600)},
	{"gpt3-2.7b", longOf(32, 32, 2560)},
	{"gpt3-6.7b", longOf(32, 32, 4096)},
	{"gpt3-13b", longOf(40, 40, 5120)},
	{"gpt-39b", longOf(48, 64, 8192)},
	{"gpt3-175b", longOf(96, 96, 12288)},
	{"bert-tiny", bertOf(2, 2, 128)},
	{"bert-base", bertOf(12, 12, 768)},
	{"bert-large", bertOf(24, 16, 1024)},
	{"bert-huge-32", bertOf(32, 16, 1280)},
	{"bert-huge-48", bertOf(48, 16, 1280)},
}

// gptOf has GPT-2's vocabulary of 50,257 and 1,024 positions.
func gptOf(layers, heads, width int) func() Config {
	return func() Config {
		c := gptDefaults()
		c.VocabSize, c.NPositions = 50257, 1024
		c.NLayer, c.NHead, c.NEmbd = layers, heads, width
		c.BosTokenID, c.EosTokenID = new(50256), new(50256)
		return c
	}
}

// longOf has 2,048 positions, as GPT-3.
func longOf(layers, heads, width int) func() Config {
	return func() Config { return gptOf(layers, heads, width)().resized(50257, 2048, layers) }
}

// bertOf has the vocabulary of 30,522 of bert-base-uncased, and 512 positions.
func bertOf(layers, heads, width int) func() Config {
	return func() Config {
		c := bertDefaults()
		c.VocabSize, c.MaxPositionEmbeddings = 30522, 512
		c.NumHiddenLayers, c.NumAttentionHeads, c.HiddenSize = layers, heads, width
		c.IntermediateSize = 4 * width
		return c
	}
}

// Presets returns the names that [Preset] knows.
func Presets() []string {
	names := make([]string, len(presets))
	for i, p := range presets {
		names[i] = p.name
	}
	return names
}

// Preset returns the configuration of a published model.
func Preset(name string) (Config, error) {
	if i := slices.Index(Presets(), name); i >= 0 {
		return presets[i].config(), nil
	}
	hint := ""
	if near, ok := nearest(name, Presets()); ok {
		hint = fmt.Sprintf(" did you mean %q?", near)
	}
	return nil, fmt.Errorf("models: no model is named %q;%s presets: %s", name, hint, strings.Join(Presets(), ", "))
}
