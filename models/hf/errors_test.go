package hf_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nlpodyssey/safetensors"

	"github.com/galvani-ml/galvani/models/hf"
)

// TestOpenErrors holds what is said about directories that cannot be read.
// Each case changes a good one.
func TestOpenErrors(t *testing.T) {
	all := tensors(t, parse(t, gptConfig))
	good := serialize(t, all)
	const model, index = "model.safetensors", "model.safetensors.index.json"
	for _, c := range []struct {
		name  string
		files map[string]string // new content; removed where empty
		want  string
	}{
		{"no config", map[string]string{"config.json": ""}, "models/hf: DIR/config.json: no such file or directory"},
		{"bad config", map[string]string{"config.json": "{}"},
			`models/hf: DIR/config.json: models: config: "model_type" is missing; supported: bert, gpt2`},
		{"no tensors", map[string]string{model: ""}, "models/hf: DIR: has neither model.safetensors nor model.safetensors.index.json: " +
			"models/hf: DIR/model.safetensors.index.json: no such file or directory"},
		{"half a header", map[string]string{model: "12345"},
			"models/hf: DIR/model.safetensors: not a whole safetensors file: header too small (5 bytes; was it truncated?)"},
		{"huge header", map[string]string{model: strings.Repeat("\xff", 20)},
			"models/hf: DIR/model.safetensors: not a safetensors file: it says that its header has 18446744073709551615 bytes, at most 8388608 are read"},
		{"truncated", map[string]string{model: string(good[:len(good)-3])},
			"models/hf: DIR/model.safetensors: not a whole safetensors file: metadata incomplete buffer (2333 bytes; was it truncated?)"},
		{"two names", map[string]string{model: string(serialize(t, with(all, "transformer.wte.weight", zeros(f32, 5, 4))))},
			"models/hf: DIR/model.safetensors: two tensors are named wte.weight, with and without prefix"},
		{"bad index", map[string]string{model: "", index: "["}, "models/hf: DIR/model.safetensors.index.json: unexpected end of JSON input"},
		{"empty index", map[string]string{model: "", index: "{}"},
			`models/hf: DIR/model.safetensors.index.json: "weight_map" is missing or empty`},
		{"index leads out", map[string]string{model: "", index: `{"weight_map":{"a":"../secret"}}`},
			`models/hf: DIR/model.safetensors.index.json: tensor "a" is said to be in "../secret", which is not a file of this directory`},
		{"index leads down", map[string]string{model: "", index: `{"weight_map":{"a":"x/y"}}`},
			`models/hf: DIR/model.safetensors.index.json: tensor "a" is said to be in "x/y", which is not a file of this directory`},
		{"index to nothing", map[string]string{model: "", index: `{"weight_map":{"a":"part"}}`},
			"models/hf: DIR/part: no such file or directory"},
		{"index is wrong", map[string]string{model: "", "part": string(good), index: `{"weight_map":{"a":"part"}}`},
			`models/hf: DIR/model.safetensors.index.json: tensor "a" is not in part, where the index has it`},
		{"index is short", map[string]string{model: "", "part": string(good), index: `{"weight_map":{"wte.weight":"part"}}`},
			`models/hf: DIR/model.safetensors.index.json: tensor "h.0.attn.c_attn.bias" of part is not in the index`},
		{"a tensor twice", map[string]string{model: "", "part1": string(good), "part2": string(good), index: `{"weight_map":{"a":"part1","b":"part2"}}`},
			`models/hf: DIR/part2: tensor "`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := directory(t, gptConfig, all)
			for name, content := range c.files {
				if content == "" {
					if err := os.Remove(filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
				} else {
					write(t, filepath.Join(dir, name), []byte(content))
				}
			}
			_, err := hf.Open(dir)
			if e := (*hf.FileError)(nil); !errors.As(err, &e) {
				t.Fatalf("%T %v", err, err)
			}
			if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != c.want && !(strings.HasSuffix(c.want, `"`) && strings.HasPrefix(got, c.want)) {
				t.Error(cmp.Diff(c.want, got))
			}
			if strings.HasPrefix(c.name, "no ") && !errors.Is(err, fs.ErrNotExist) {
				t.Error("does not say fs.ErrNotExist")
			}
		})
	}
}

// TestTruncated cuts a file at every length.
func TestTruncated(t *testing.T) {
	all := map[string]raw{"w": zeros(f32, 3), "v": zeros(safetensors.F16, 2)}
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	data := serialize(t, all)
	for n := range data {
		write(t, path, data[:n])
		_, err := hf.OpenTensors(dir, "model")
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Fatalf("cut at %d of %d bytes: %v", n, len(data), err)
		}
	}
}

// TestFailedWrite shows that a write that fails leaves the old file and
// nothing beside it.
func TestFailedWrite(t *testing.T) {
	cfg := parse(t, gptConfig)
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	write(t, path, []byte("old"))
	short := map[string]hf.Tensor{"short": {Shape: []int{2, 2}, Data: []float32{1}}}
	err := hf.Write(dir, cfg, maps.All(short))
	const want = `tensor "short" has 1 elements, its shape [2 2] says 4`
	if e := (*hf.FileError)(nil); !errors.As(err, &e) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	twice := func(yield func(string, hf.Tensor) bool) {
		for range 2 {
			if !yield("w", hf.Tensor{Data: []float32{1}}) {
				return
			}
		}
	}
	if err := hf.Write(dir, cfg, twice); err == nil {
		t.Error("two tensors of one name are written")
	}
	if err := hf.WriteIndex(dir, "model", "model.safetensors"); err == nil {
		t.Error("an index of a broken file is written")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || string(read(t, path)) != "old" {
		t.Errorf("%v %v", entries, err)
	}
	blocked := t.TempDir()
	if err := os.Mkdir(filepath.Join(blocked, "model.safetensors"), 0o755); err != nil { // cannot be renamed over
		t.Fatal(err)
	}
	if err := hf.Write(blocked, cfg, maps.All(map[string]hf.Tensor{})); err == nil {
		t.Error("a directory is replaced by a file")
	}
	if err := hf.Write(filepath.Join(path, "none"), cfg, maps.All(map[string]hf.Tensor{})); err == nil {
		t.Error("a directory is made below a file")
	}
}
