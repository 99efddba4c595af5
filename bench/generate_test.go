package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/models"
)

var tinyGeneration = generation{
	label: "tiny",
	config: &models.GPTConfig{
		VocabSize: 65, NPositions: 32, NEmbd: 16, NLayer: 2, NHead: 2, TieWordEmbeddings: true,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.02,
	},
	contexts: []int{0, 20},
	probe:    1 << 16,
}

func TestGenerate(t *testing.T) {
	var out bytes.Buffer
	if err := generate(t.Context(), GenerateOptions{Tokens: 3, Threads: 2, JSON: true}, &out, tinyGeneration); err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		var r Result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Suite != "generate" || r.Unit != "tokens/s" || r.Value <= 0 || r.OfPeak <= 0 {
			t.Errorf("%+v", r)
		}
		names = append(names, r.Name)
	}
	if got, want := strings.Join(names, " "), "generate-fp32-tiny-context-0-2t generate-fp32-tiny-context-20-2t"; got != want {
		t.Errorf("results %s, want %s", got, want)
	}
}

// TestGenerateBytes counts what a token of GPT-2 124M reads: all parameters but
// the positions', and after 100 tokens their keys and values in all layers.
func TestGenerateBytes(t *testing.T) {
	d := decoder{config: gpt2Generation.config, params: 1000}
	if got, want := d.bytes(100), 4.0*(1000+2*12*768*100); got != want {
		t.Errorf("%g bytes, want %g", got, want)
	}
}

func TestGenerateErrors(t *testing.T) {
	if err := generate(t.Context(), GenerateOptions{Tokens: -1}, &bytes.Buffer{}, tinyGeneration); err == nil {
		t.Error("a negative number of tokens is no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := generate(ctx, GenerateOptions{}, &bytes.Buffer{}, tinyGeneration); err == nil {
		t.Error("an ended context is no error")
	}
}
