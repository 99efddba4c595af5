package models_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// TestDecoder generates with the cache, a prompt filled in without head and
// then token by token, and compares each step's logits with those of the whole
// sequence at once.
func TestDecoder(t *testing.T) {
	const batch, prompt = 2, 3
	cfg := tinyGPT(true)
	r := rand.New(rand.NewPCG(3, 4))
	full, err := models.Build(cfg, models.Options{Batch: batch, Seq: cfg.NPositions, Dtype: tensor.Float64})
	if err != nil {
		t.Fatal(err)
	}
	f := drawn(r, full, cfg.VocabSize)
	want := tape(t, full.Graph, f, full.Logits)[0]
	weights := map[string]any{}
	for _, p := range full.Params {
		weights[p.Name] = f[p.Node]
	}
	tokens := f[full.Input(graph.InputTokens).Node].([]int32)

	cache := map[string]any{}
	for start, n := 0, prompt; start < cfg.NPositions; start, n = start+n, 1 {
		m, err := models.BuildDecoder(cfg, models.DecodeOptions{
			Batch: batch, Tokens: n, Cache: cfg.NPositions, Head: start > 0, Dtype: tensor.Float64,
		})
		if err != nil {
			t.Fatal(err)
		}
		f := decoderFeed(m, weights, cache, tokens, start, cfg.NPositions)
		var roots []*G.Node
		for _, s := range m.States {
			roots = append(roots, s.Next)
		}
		if (m.Logits != nil) != (start > 0) {
			t.Fatalf("start %d: logits %v", start, m.Logits)
		}
		if m.Logits != nil {
			roots = append(roots, m.Logits)
		}
		got := plain(t, f, roots...)
		for i, s := range m.States {
			cache[s.Name] = got[i]
		}
		if m.Logits == nil {
			continue
		}
		for b := range batch {
			for v := range cfg.VocabSize {
				g, w := got[len(m.States)][b*cfg.VocabSize+v], want[(b*cfg.NPositions+start)*cfg.VocabSize+v]
				near(t, fmt.Sprintf("logit %d of token %d", v, start), g, w, 1e-12)
			}
		}
	}
}

// decoderFeed gives a decoder its weights, cache, and tokens start to start+n
// of each sequence of length seq.
func decoderFeed(m *graph.Model, weights, cache map[string]any, tokens []int32, start, seq int) feed {
	f := feed{m.Input(graph.InputStart).Node: []int32{int32(start)}}
	for _, p := range m.Params {
		f[p.Node] = weights[p.Name]
	}
	for _, s := range m.States {
		f[s.Node] = cache[s.Name]
		if cache[s.Name] == nil {
			f[s.Node] = make([]float64, graph.TypeOf(s.Node).Size())
		}
	}
	in := m.Input(graph.InputTokens).Node
	n := in.Shape()[1]
	var now []int32
	for b := range in.Shape()[0] {
		now = append(now, tokens[b*seq+start:b*seq+start+n]...)
	}
	f[in] = now
	return f
}
