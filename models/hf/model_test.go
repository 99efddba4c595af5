package hf_test

import (
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nlpodyssey/safetensors"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
)

const (
	gptConfig  = `{"model_type":"gpt2","vocab_size":5,"n_positions":4,"n_embd":4,"n_layer":1,"n_head":2}`
	bertConfig = `{"model_type":"bert","vocab_size":5,"max_position_embeddings":4,"hidden_size":4,"num_hidden_layers":1,` +
		`"num_attention_heads":2,"intermediate_size":6}`
)

func parse(t testing.TB, config string) models.Config {
	t.Helper()
	cfg, err := models.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func build(t testing.TB, cfg models.Config) *graph.Model {
	t.Helper()
	m, err := models.Build(cfg, models.Options{Batch: 1, Seq: 1})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// raw is a tensor of any element type, as the format has it.
type raw struct {
	dtype safetensors.DType
	shape []uint64
	data  []byte
}

func (r raw) DType() safetensors.DType { return r.dtype }
func (r raw) Shape() []uint64          { return r.shape }
func (r raw) Data() []byte             { return r.data }
func (r raw) DataLen() uint64          { return uint64(len(r.data)) }

// zeros is a tensor of zeros.
func zeros(dtype safetensors.DType, shape ...uint64) raw {
	size := dtype.Size()
	for _, d := range shape {
		size *= d
	}
	return raw{dtype, append([]uint64{}, shape...), make([]byte, size)}
}

// tensors has a zero for each parameter of cfg's model.
func tensors(t testing.TB, cfg models.Config) map[string]raw {
	all := map[string]raw{}
	for _, p := range build(t, cfg).Params {
		var shape []uint64
		for _, d := range p.Stored {
			shape = append(shape, uint64(d))
		}
		all[p.Name] = zeros(safetensors.F32, shape...)
	}
	return all
}

// directory writes a model as another program would.
func directory(t testing.TB, config string, all map[string]raw) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.json"), []byte(config))
	write(t, filepath.Join(dir, "model.safetensors"), serialize(t, all))
	return dir
}

func serialize(t testing.TB, all map[string]raw) []byte {
	t.Helper()
	data, err := safetensors.Serialize(all, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string) *hf.Dir {
	t.Helper()
	d, err := hf.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// fresh has the initial values of m's parameters.
func fresh(m *graph.Model) map[string]hf.Tensor {
	all := map[string]hf.Tensor{}
	for _, p := range m.Params {
		x := make([]float32, p.Size())
		models.InitValue(p, 1, x)
		all[p.Name] = hf.Tensor{Shape: p.Stored, Data: x}
	}
	return all
}

// pick yields the named tensors.
func pick(all map[string]hf.Tensor, names ...string) iter.Seq2[string, hf.Tensor] {
	return func(yield func(string, hf.Tensor) bool) {
		for _, name := range names {
			if !yield(name, all[name]) {
				return
			}
		}
	}
}

func names[V any](all map[string]V) []string { return slices.Sorted(maps.Keys(all)) }

func ExampleWrite() {
	cfg, err := models.Preset("gpt-nano")
	if err != nil {
		fmt.Println(err)
		return
	}
	if cfg, err = models.WithVocab(cfg, 10); err != nil {
		fmt.Println(err)
		return
	}
	m, err := models.Build(cfg, models.Options{Batch: 1, Seq: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := hf.Write(dir, cfg, maps.All(fresh(m))); err != nil {
		fmt.Println(err)
		return
	}
	d, err := hf.Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	fmt.Println(d.Config.Type(), len(d.Names()), "tensors", d.Check(m))
	// Output: gpt2 40 tensors <nil>
}
