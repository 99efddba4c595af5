package hf

import (
	"path/filepath"
	"testing"

	"github.com/nlpodyssey/safetensors"

	"github.com/galvani-ml/galvani/graph"
)

// FuzzParse shows that no file makes the reader panic, and that what it
// accepts can be read.
func FuzzParse(f *testing.F) {
	good, err := safetensors.Serialize(map[string]view{
		"a":   {Tensor{Shape: []int{2, 2}, Data: []float32{1, 2, 3, 4}}},
		"b.m": {Tensor{Data: []float32{5}}},
		"c":   {Tensor{Shape: []int{0, 7}}},
	}, map[string]string{"format": "pt"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(good[:30])
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff{}"))
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x00{}"))
	header := `{"a":{"dtype":"F16","shape":[0,18446744073709551615],"data_offsets":[0,0]}}    `
	f.Add(append([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}, header...))
	shard := &graph.Shard{Param: &graph.Param{Name: "a", Shape: []int{2, 2}, Stored: []int{2, 2}}, Parts: []graph.Part{{Index: 1, Count: 2}, {}}}
	part := make([]float32, 2)
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, err := parse(data)
		if err != nil {
			return
		}
		ts := &Tensors{entries: map[string]entry{}}
		for _, v := range parsed.Tensors() {
			ts.entries[v.Name] = entry{&file{path: "fuzz"}, v.TensorView}
		}
		for _, name := range ts.Names() {
			info, _ := ts.Info(name)
			dst := make([]float32, graph.Type{Shape: info.Shape}.Size())
			if err := ts.Load(name, dst); err != nil && (info.Dtype == "F32" || info.Dtype == "F16" || info.Dtype == "BF16") {
				t.Fatal(err)
			}
			// A snapshot's parts: where the tensor is not of the parameter's size, an error.
			_ = ts.LoadShard(name, shard, part)
		}
	})
}

// FuzzIndex shows that no index panics, and that files it names are of its own
// directory.
func FuzzIndex(f *testing.F) {
	for _, text := range []string{
		`{"metadata":{"total_size":9},"weight_map":{"a":"model-00001-of-00002.safetensors"}}`, `{"weight_map":{"a":"../secret"}}`, `{"weight_map":{"a":"/etc/passwd"}}`,
		`{"weight_map":{"a":"."}}`, `{"weight_map":{"a":".."}}`, `{"weight_map":{"a":""}}`, `{"weight_map":{"a":"b/c"}}`, `{"weight_map":{}}`, `null`, `[]`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ix, err := parseIndex(data)
		if err != nil {
			return
		}
		for name, file := range ix.WeightMap {
			if dir := filepath.Dir(filepath.Join("/dir", file)); dir != "/dir" {
				t.Errorf("tensor %q in %q lies in %s", name, file, dir)
			}
		}
	})
}
