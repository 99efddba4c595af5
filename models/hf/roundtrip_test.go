package hf_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nlpodyssey/safetensors"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/internal/shared"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
)

// TestRoundTrip reads checkpoints that others made and writes them again: each
// tensor keeps its bytes, and a second round trip the whole file.
func TestRoundTrip(t *testing.T) {
	for _, path := range [][]string{{"cases", "parity", "gpt2"}, {"cases", "parity", "bert"}, {"data", "tiny_gpt2"}} {
		t.Run(filepath.Join(path...), func(t *testing.T) {
			source := shared.Path(t, path...)
			first, second := rewritten(t, source), ""
			second = rewritten(t, first)
			checkSameTensors(t, filepath.Join(source, "model.safetensors"), filepath.Join(first, "model.safetensors"))
			for _, name := range []string{"model.safetensors", "config.json"} {
				if !bytes.Equal(read(t, filepath.Join(first, name)), read(t, filepath.Join(second, name))) {
					t.Errorf("%s changes when written a second time", name)
				}
			}
		})
	}
}

// rewritten loads a directory's model and writes it to another.
func rewritten(t *testing.T, source string) string {
	t.Helper()
	d := open(t, source)
	m := build(t, d.Config)
	if err := d.Check(m); err != nil {
		t.Fatal(err)
	}
	all := map[string]hf.Tensor{}
	for _, p := range m.Params {
		x := make([]float32, p.Size())
		if err := d.Load(p.Name, x); err != nil {
			t.Fatal(err)
		}
		all[p.Name] = hf.Tensor{Shape: p.Stored, Data: x}
	}
	dir := filepath.Join(t.TempDir(), "new")
	if err := hf.Write(dir, d.Config, maps.All(all)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func checkSameTensors(t *testing.T, a, b string) {
	t.Helper()
	x, errX := safetensors.Deserialize(read(t, a))
	y, errY := safetensors.Deserialize(read(t, b))
	if errX != nil || errY != nil {
		t.Fatal(errX, errY)
	}
	if x.Len() != y.Len() {
		t.Errorf("%d tensors, then %d", x.Len(), y.Len())
	}
	for _, v := range x.Tensors() {
		w, ok := y.Tensor(v.Name)
		if !ok || !slices.Equal(v.TensorView.Shape(), w.Shape()) || !bytes.Equal(v.TensorView.Data(), w.Data()) {
			t.Errorf("%s is not as it was", v.Name)
		}
	}
}

// TestSharded writes a model in parts, as pipeline stages do, over an older
// single file, and reads the whole and the shards of every rank.
func TestSharded(t *testing.T) {
	cfg := parse(t, gptConfig)
	m := build(t, cfg)
	all := fresh(m)
	dir := t.TempDir()
	if err := hf.Write(dir, cfg, maps.All(fresh(build(t, cfg)))); err != nil {
		t.Fatal(err)
	}
	var files []string
	stages := slices.Collect(slices.Chunk(names(all), 6))
	for i, stage := range stages {
		file := hf.ShardFile("model", i, len(stages))
		writeWhole(t, filepath.Join(dir, file), maps.Collect(pick(all, stage...)))
		files = append(files, file)
	}
	if err := hf.WriteIndex(dir, "model", files...); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	if err := d.Check(m); err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Params {
		if info, _ := d.Info(p.Name); filepath.Dir(info.File) != dir || info.Dtype != "F32" {
			t.Errorf("%s is in %+v", p.Name, info)
		}
		for dim := range p.Shape {
			checkShards(t, d, p, dim, all[p.Name].Data)
		}
	}
}

// checkShards cuts a parameter in two along dim.
func checkShards(t *testing.T, d *hf.Dir, p *graph.Param, dim int, whole []float32) {
	t.Helper()
	if p.Shape[dim]%2 != 0 {
		return
	}
	for i := range 2 {
		s := &graph.Shard{Param: p, Parts: make([]graph.Part, len(p.Shape))}
		s.Parts[dim] = graph.Part{Index: i, Count: 2}
		runs, err := models.Runs(p.Shape, s.Parts)
		if err != nil {
			t.Fatal(err)
		}
		var want []float32
		for offset, n := range runs {
			want = append(want, whole[offset:offset+n]...)
		}
		got := make([]float32, p.Size()/2)
		if err := d.LoadShard(p.Name, s, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: part %d of dimension %d: %s", p.Name, i, dim, diff)
		}
		for _, room := range []int{len(got) - 1, len(got) + 1} {
			if err := d.LoadShard(p.Name, s, make([]float32, room)); err == nil {
				t.Errorf("%s: a shard of %d is read into %d", p.Name, len(got), room)
			}
		}
	}
}

// TestOptimizerState writes and reads tensors that are no model's.
func TestOptimizerState(t *testing.T) {
	dir := t.TempDir()
	all := map[string]hf.Tensor{"w.m": {Shape: []int{2, 2}, Data: []float32{1, 2, 3, 4}}, "w.v": {Data: []float32{5}}}
	writeWhole(t, filepath.Join(dir, hf.ShardFile("optimizer", 0, 1)), all)
	if err := hf.WriteIndex(dir, "optimizer", "optimizer-00001-of-00001.safetensors"); err != nil {
		t.Fatal(err)
	}
	ts, err := hf.OpenTensors(dir, "optimizer")
	if err != nil {
		t.Fatal(err)
	}
	p := &graph.Param{Name: "w", Shape: []int{2, 2}, Stored: []int{4}}
	s := &graph.Shard{Param: p, Parts: []graph.Part{{}, {Index: 1, Count: 2}}}
	got := make([]float32, 2)
	if err := ts.LoadShard("w.m", s, got); err != nil || !cmp.Equal(got, []float32{2, 4}) {
		t.Errorf("%v %v", got, err)
	}
	if err := ts.LoadShard("w.v", s, got); err == nil {
		t.Error("a scalar is cut like a matrix")
	}
	if err := ts.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ts.Load("w.m", make([]float32, 4)); err == nil {
		t.Error("a closed file is read")
	}
}
