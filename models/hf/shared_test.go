package hf_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nlpodyssey/safetensors"
	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models/hf"
)

// writeWhole writes tensors that are not cut into a new file.
func writeWhole(t *testing.T, path string, all map[string]hf.Tensor) {
	t.Helper()
	shapes := map[string][]int{}
	for name, x := range all {
		shapes[name] = x.Shape
	}
	f, err := hf.OpenShared(path, shapes)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range all {
		s := &graph.Shard{Param: &graph.Param{Name: name, Shape: x.Shape, Stored: x.Shape}}
		if err := f.WriteShard(name, s, x.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// cutTensor is a parameter cut into shards: along each dimension, into counts
// parts.
type cutTensor struct {
	*graph.Param
	counts []int
	whole  []float32
}

func drawTensor(t *rapid.T, name string) cutTensor {
	c := cutTensor{Param: &graph.Param{Name: name}}
	for range rapid.IntRange(0, 4).Draw(t, "dims") {
		count := rapid.IntRange(1, 3).Draw(t, "count")
		c.counts = append(c.counts, count)
		c.Shape = append(c.Shape, count*rapid.IntRange(1, 4).Draw(t, "part"))
	}
	c.Stored = []int{c.Size()}
	if len(c.Shape) == 0 {
		c.Stored = nil
	}
	for range c.Size() {
		c.whole = append(c.whole, math.Float32frombits(rapid.Uint32().Draw(t, "bits")))
	}
	return c
}

// shards are all there are.
func (c cutTensor) shards() []*graph.Shard {
	all := []*graph.Shard{{Param: c.Param}}
	for _, count := range c.counts {
		var longer []*graph.Shard
		for _, s := range all {
			for i := range count {
				parts := append(slices.Clone(s.Parts), graph.Part{Index: i, Count: count})
				longer = append(longer, &graph.Shard{Param: c.Param, Parts: parts})
			}
		}
		all = longer
	}
	return all
}

// cut takes the shard's elements out of the whole, one by one.
func (c cutTensor) cut(s *graph.Shard) []float32 {
	var x []float32
	for e, v := range c.whole {
		inside, rest := true, e
		for d := len(c.Shape) - 1; d >= 0; d-- {
			i := rest % c.Shape[d]
			rest /= c.Shape[d]
			inside = inside && i/(c.Shape[d]/s.Parts[d].Count) == s.Parts[d].Index
		}
		if inside {
			x = append(x, v)
		}
	}
	return x
}

// TestSharedFile has several writers put the shards of random tensors into one
// file, at the same time, and finds the bytes of a file written whole; then it
// reads shards cut in other ways.
func TestSharedFile(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		var cuts []cutTensor
		shapes, raws := map[string][]int{}, map[string]raw{}
		for i := range rapid.IntRange(1, 4).Draw(t, "tensors") {
			c := drawTensor(t, fmt.Sprintf("w%d", i))
			cuts = append(cuts, c)
			shapes[c.Name] = c.Stored
			raws[c.Name] = wholeRaw(c)
		}
		path := filepath.Join(dir, "model.safetensors")
		writers := rapid.IntRange(1, 5).Draw(t, "writers")
		work := make([][]*graph.Shard, writers)
		for _, c := range cuts {
			for _, s := range c.shards() {
				w := rapid.IntRange(0, writers-1).Draw(t, "writer")
				work[w] = append(work[w], s)
			}
		}
		errs := make([]error, writers)
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() { errs[w] = writeShards(path, shapes, cuts, work[w]) })
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
		want, err := safetensors.Serialize(raws, map[string]string{"format": "pt"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v; the file is\n%q, written whole\n%q", err, got, want)
		}
		checkOtherCuts(t, dir, cuts)
	})
}

func wholeRaw(c cutTensor) raw {
	r := zeros(safetensors.F32)
	r.data = nil
	for _, d := range c.Stored {
		r.shape = append(r.shape, uint64(d))
	}
	for _, x := range c.whole {
		bits := math.Float32bits(x)
		r.data = append(r.data, byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24))
	}
	return r
}

// writeShards is one writer.
func writeShards(path string, shapes map[string][]int, cuts []cutTensor, shards []*graph.Shard) error {
	f, err := hf.OpenShared(path, shapes)
	if err != nil {
		return err
	}
	for _, s := range shards {
		i := slices.IndexFunc(cuts, func(c cutTensor) bool { return c.Name == s.Param.Name })
		if err := f.WriteShard(s.Param.Name, s, cuts[i].cut(s)); err != nil {
			return err
		}
	}
	return f.Close()
}

// checkOtherCuts reads every tensor in shards of random cuts.
func checkOtherCuts(t *rapid.T, dir string, cuts []cutTensor) {
	ts, err := hf.OpenTensors(dir, "model")
	if err != nil {
		t.Fatal(err)
	}
	defer ts.Close()
	for _, c := range cuts {
		for d, size := range c.Shape {
			c.counts[d] = 1
			if n := rapid.IntRange(1, size).Draw(t, "other count"); size%n == 0 {
				c.counts[d] = n
			}
		}
		for _, s := range c.shards() {
			want := c.cut(s)
			got := make([]float32, len(want))
			if err := ts.LoadShard(c.Name, s, got); err != nil {
				t.Fatal(err)
			}
			same := func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }
			if !slices.EqualFunc(got, want, same) {
				t.Fatalf("%s, shard %v of %v: %v, want %v", c.Name, s.Parts, c.Shape, got, want)
			}
		}
	}
}

func TestSharedFileErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	expect := func(err error, want string) {
		t.Helper()
		if err == nil {
			t.Errorf("no error, want %s", want)
		} else if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	shapes := map[string][]int{"w": {6, 4}}
	p := &graph.Param{Name: "w", Shape: []int{6, 4}, Stored: []int{6, 4}}
	half := &graph.Shard{Param: p, Parts: []graph.Part{{}, {Index: 1, Count: 2}}}
	f, err := hf.OpenShared(path, shapes)
	if err != nil {
		t.Fatal(err)
	}
	expect(f.WriteShard("v", half, make([]float32, 12)), `models/hf: DIR/model.safetensors: no tensor is named "v"`)
	expect(f.WriteShard("w", half, make([]float32, 11)), "models/hf: w: the shard is larger than its 11 elements")
	expect(f.WriteShard("w", half, make([]float32, 13)), "models/hf: w: the shard is smaller than its 13 elements")
	quarter := &graph.Shard{Param: p, Parts: []graph.Part{{Index: 0, Count: 4}}}
	expect(f.WriteShard("w", quarter, make([]float32, 6)), "w: models: part 0 of 4 of dimension 0 of [6 4] is none")
	other := &graph.Shard{Param: &graph.Param{Name: "w", Shape: []int{6, 5}, Stored: []int{30}}}
	expect(f.WriteShard("w", other, make([]float32, 30)), `models/hf: DIR/model.safetensors: tensor "w" has shape [6 4], parameter w [30]`)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteShard("w", half, make([]float32, 12)); err == nil {
		t.Error("a closed file is written")
	}
	_, err = hf.OpenShared(path, map[string][]int{"w": {6, 5}})
	expect(err, "models/hf: DIR/model.safetensors: has 192 bytes, the tensors to write make 224: other writers have other tensors, or it is an old file")
	_, err = hf.OpenShared(path, map[string][]int{"w": {-6, 5}})
	expect(err, `models/hf: DIR/model.safetensors: tensor "w" has shape [-6 5]`)
	_, err = hf.OpenShared(filepath.Join(dir, "none", "x"), shapes)
	expect(err, "models/hf: DIR/none/x: no such file or directory")
	if err := hf.Write(dir, parse(t, gptConfig), maps.All(map[string]hf.Tensor{})); err != nil {
		t.Fatal(err) // an old file is replaced
	}
}
