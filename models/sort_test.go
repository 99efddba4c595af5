package models_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/internal/shared"
	"github.com/galvani-ml/galvani/models"
)

// exported is a tensor of minGPT's, its little-endian float32 in base64.
type exported struct {
	Shape []int
	Data  []byte
}

func (e exported) floats(t *testing.T) []float64 {
	t.Helper()
	x := make([]float32, len(e.Data)/4)
	if err := binary.Read(bytes.NewReader(e.Data), binary.LittleEndian, x); err != nil {
		t.Fatal(err)
	}
	return widen(x)
}

// TestSortingModel runs minGPT's trained gpt-nano and compares the activations
// along the way with minGPT's.
func TestSortingModel(t *testing.T) {
	var weights, want map[string]exported
	readJSON(t, shared.Path(t, "data", "gpt-nano-sort", "gpt-nano-sort-model.json"), &weights)
	readJSON(t, shared.Path(t, "data", "gpt-nano-sort", "gpt-nano-sort-t0-partials.json"), &want)
	config, err := json.Marshal(map[string]any{
		"model_type": "gpt2", "vocab_size": 3, "n_positions": 11, "n_embd": 48, "n_layer": 3, "n_head": 3,
		"tie_word_embeddings": false,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := models.ParseConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	m, err := models.Build(cfg, models.Options{Batch: 3, Seq: 11, Dtype: tensor.Float64})
	if err != nil {
		t.Fatal(err)
	}
	if n := m.NumParams(); n != 85728 {
		t.Errorf("%d parameters", n)
	}
	f := feed{}
	for _, p := range m.Params {
		f[p.Node] = minGPT(t, weights, p)
	}
	var tokens []int32
	for _, v := range want["idx"].floats(t) {
		tokens = append(tokens, int32(v))
	}
	f[m.Input(graph.InputTokens).Node] = tokens

	places := map[string]*G.Node{
		"x": m.Layers[0].Out, "block0": m.Layers[1].Out, "block1": m.Layers[2].Out, "block2": m.Layers[3].Out, "lm_head": m.Logits,
	}
	for place, op := range map[string]string{
		"tok_emb": "wte", "ln1": "h.0.ln_1", "qkv": "h.0.attn.c_attn", "y": "h.0.attn.attention", "yProj": "h.0.attn.c_proj",
		"attnResid": "h.0.attn.add", "ln2": "h.0.ln_2", "fc": "h.0.mlp.c_fc", "gelu": "h.0.mlp.act", "mlp": "h.0.mlp.c_proj",
		"mlpResid": "h.0.mlp.add", "ln_f": "ln_f",
	} {
		places[place] = node(t, op, m.Logits)
	}
	for place, n := range places {
		got := plain(t, f, n)[0]
		for i, v := range want[place].floats(t) {
			near(t, place, got[i], v, 2e-5)
		}
	}
}

// minGPT finds a parameter. minGPT's projections are nn.Linear, their output
// dimension first, where GPT-2's have it last.
func minGPT(t *testing.T, weights map[string]exported, p *graph.Param) []float64 {
	t.Helper()
	w, ok := weights["transformer."+p.Name]
	if !ok {
		w, ok = weights[p.Name]
	}
	if !ok {
		t.Fatalf("no tensor is named %s", p.Name)
	}
	x := w.floats(t)
	if !strings.Contains(p.Name, ".c_") || len(p.Stored) < 2 {
		return x
	}
	rows, cols := w.Shape[0], w.Shape[1]
	y := make([]float64, len(x))
	for i := range rows {
		for j := range cols {
			y[j*rows+i] = x[i*cols+j]
		}
	}
	return y
}
