package train

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/galvani-ml/galvani/data/tokenizer"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
	"github.com/galvani-ml/galvani/train/sampling"
)

// TestMain makes this binary, started as `worker`, a worker process.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		if err := Work(context.Background(), os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// randomGPT writes a small GPT with random parameters, large enough for its
// choices to be clear, and a tokenizer.
func randomGPT(t *testing.T, positions int) (dir string, cfg models.Config) {
	t.Helper()
	bpe, err := tokenizer.TrainBPE(slices.Values([]string{"the cat sat on the mat"}), tokenizer.TrainOptions{VocabSize: 300, Special: []string{"<|endoftext|>"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg = &models.GPTConfig{
		VocabSize: bpe.VocabSize(), NPositions: positions, NEmbd: 24, NLayer: 2, NHead: 3,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.5, TieWordEmbeddings: true,
	}
	model, err := models.Build(cfg, models.Options{Batch: 1, Seq: 1})
	if err != nil {
		t.Fatal(err)
	}
	var tensors iter.Seq2[string, hf.Tensor] = func(yield func(string, hf.Tensor) bool) {
		for _, p := range model.Params {
			data := make([]float32, p.Size())
			models.InitValue(p, 7, data)
			if !yield(p.Name, hf.Tensor{Shape: p.Stored, Data: data}) {
				return
			}
		}
	}
	dir = t.TempDir()
	if err := hf.Write(dir, cfg, tensors); err != nil {
		t.Fatal(err)
	}
	if err := tokenizer.Save(filepath.Join(dir, "tokenizer.json"), bpe); err != nil {
		t.Fatal(err)
	}
	return dir, cfg
}

// likeliest runs the whole sequence without a cache and returns the likeliest
// next token.
func likeliest(t *testing.T, dir string, cfg models.Config, ids []int) int {
	t.Helper()
	model, err := models.Build(cfg, models.Options{Batch: 1, Seq: len(ids)})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New(1)
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	weights, err := hf.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer weights.Close()
	m, err := forwardMachine(weights, backend, model)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for i, id := range ids {
		m.Input(0, graph.InputTokens).Ints[i] = int32(id)
	}
	if err := m.Forward(context.Background(), exec.MicroBatch{}); err != nil {
		t.Fatal(err)
	}
	logits := m.Logits(0)
	return sampling.New(sampling.Options{}).Next(logits[len(logits)-cfg.Vocab():])
}

// TestGenerateEqualsFullForward generates greedily with the cache, filled by
// runs of tokens and one by one, and finds what the whole model without a cache
// would choose, also when the context is full and goes on with its newer half.
func TestGenerateEqualsFullForward(t *testing.T) {
	const positions, tokens = 80, 24
	dir, cfg := randomGPT(t, positions)
	g, err := OpenGenerator(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	greedy := sampling.Options{TopP: 1}
	for _, prompt := range []string{"", "the cat", strings.Repeat("xyz ", 17), strings.Repeat("q", 200)} {
		got, err := g.Generate(t.Context(), prompt, tokens, greedy, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids := g.tokenizer.Encode(prompt)
		end, _ := g.tokenizer.ID("<|endoftext|>")
		if len(ids) == 0 {
			ids = []int{end}
		}
		stream := tokenizer.NewStream(g.tokenizer)
		want := ""
		for range tokens {
			if len(ids) > positions {
				ids = ids[len(ids)-(positions+1)/2:]
			}
			id := likeliest(t, dir, cfg, ids)
			if id == end {
				break
			}
			ids = append(ids, id)
			want += stream.Push(id)
		}
		want += stream.Flush()
		if got != want {
			t.Errorf("after %q: generated %q, the whole model %q", prompt, got, want)
		}
	}
}

func TestGenerateErrors(t *testing.T) {
	dir, _ := randomGPT(t, 16)
	g, err := OpenGenerator(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Generate(t.Context(), "the", 3, sampling.Options{TopP: 2}, nil); err == nil {
		t.Error("a top-p of 2 is accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Generate(ctx, "the", 3, sampling.Options{TopP: 1}, nil); err == nil {
		t.Error("a cancelled context generates")
	}
	if _, err := OpenGenerator(t.TempDir()); err == nil {
		t.Error("an empty directory opens")
	}
}
