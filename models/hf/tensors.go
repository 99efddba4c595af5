package hf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/nlpodyssey/safetensors"
	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// Tensors are the named tensors of one safetensors file, or of several with
// an index. Methods other than Close may be called concurrently.
type Tensors struct {
	files   []*file
	entries map[string]entry
}

// entry is a tensor in a file.
type entry struct {
	file *file
	view safetensors.TensorView
}

// Info describes a tensor.
type Info struct {
	File  string // path
	Dtype string // as in the format: "F32", "BF16", ...
	Shape tensor.Shape
}

// OpenTensors opens base.safetensors in dir or, where there is none, the files
// of base.safetensors.index.json. Errors are of type *[FileError].
func OpenTensors(dir, base string) (_ *Tensors, err error) {
	t := &Tensors{entries: map[string]entry{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	single := filepath.Join(dir, base+".safetensors")
	if _, err := os.Stat(single); err == nil {
		return t, t.add(single)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fileError(single, err)
	}
	ix, err := readIndex(single + ".index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &FileError{dir, fmt.Errorf("has neither %s.safetensors nor %[1]s.safetensors.index.json: %w", base, err)}
	} else if err != nil {
		return nil, err
	}
	return t, t.addIndexed(dir, single+".index.json", ix)
}

// OpenTensorFile opens one safetensors file. Errors are of type *[FileError].
func OpenTensorFile(path string) (*Tensors, error) {
	t := &Tensors{entries: map[string]entry{}}
	if err := t.add(path); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// addIndexed opens the files of an index and checks that it tells the truth.
func (t *Tensors) addIndexed(dir, path string, ix *index) error {
	for _, name := range slices.Compact(slices.Sorted(maps.Values(ix.WeightMap))) {
		if err := t.add(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ix.WeightMap)) {
		e, ok := t.entries[name]
		if want := ix.WeightMap[name]; !ok || filepath.Base(e.file.path) != want {
			return &FileError{path, fmt.Errorf("tensor %q is not in %s, where the index has it", name, want)}
		}
	}
	for _, name := range t.Names() {
		if _, ok := ix.WeightMap[name]; !ok {
			return &FileError{path, fmt.Errorf("tensor %q of %s is not in the index", name, filepath.Base(t.entries[name].file.path))}
		}
	}
	return nil
}

// add opens one file.
func (t *Tensors) add(path string) error {
	f, err := openFile(path)
	if err != nil {
		return err
	}
	t.files = append(t.files, f)
	for _, v := range f.tensors.Tensors() {
		if other, ok := t.entries[v.Name]; ok {
			return &FileError{path, fmt.Errorf("tensor %q is in %s too", v.Name, filepath.Base(other.file.path))}
		}
		t.entries[v.Name] = entry{f, v.TensorView}
	}
	return nil
}

// Close releases the files. The tensors are gone after it.
func (t *Tensors) Close() error {
	var err error
	for _, f := range t.files {
		err = errors.Join(err, f.release())
	}
	t.files, t.entries = nil, nil
	return err
}

// Names returns the names of all tensors, sorted.
func (t *Tensors) Names() []string { return slices.Sorted(maps.Keys(t.entries)) }

// Info describes the tensor of that name.
func (t *Tensors) Info(name string) (Info, bool) {
	e, ok := t.entries[name]
	if !ok {
		return Info{}, false
	}
	return Info{File: e.file.path, Dtype: e.view.DType().String(), Shape: e.shape()}, true
}

func (e entry) shape() tensor.Shape {
	shape := make(tensor.Shape, len(e.view.Shape()))
	for i, d := range e.view.Shape() {
		shape[i] = int(d)
	}
	return shape
}

// size is the number of elements.
func (e entry) size() int { return graph.Type{Shape: e.shape()}.Size() }

// floats finds a tensor that can be read as float32.
func (t *Tensors) floats(name string) (entry, error) {
	e, ok := t.entries[name]
	if !ok {
		return entry{}, fmt.Errorf("models/hf: no tensor is named %q", name)
	}
	if !readable(e.view.DType()) {
		return entry{}, &FileError{e.file.path, fmt.Errorf("tensor %q is of type %v, needs F32, F16 or BF16", name, e.view.DType())}
	}
	return e, nil
}

// Load reads a whole tensor into dst, row-major, widening F16 and BF16.
func (t *Tensors) Load(name string, dst []float32) error {
	e, err := t.floats(name)
	if err != nil {
		return err
	}
	if len(dst) != e.size() {
		return &FileError{e.file.path, fmt.Errorf("tensor %q has %d elements, %d are asked for", name, e.size(), len(dst))}
	}
	decode(dst, e.view.DType(), e.view.Data())
	return nil
}

// LoadShard reads into dst the part of a tensor that s is of its parameter.
// The name need not be the parameter's: moments of an optimizer are cut alike.
func (t *Tensors) LoadShard(name string, s *graph.Shard, dst []float32) error {
	e, err := t.floats(name)
	if err != nil {
		return err
	}
	if e.size() != s.Param.Size() {
		return &FileError{e.file.path, fmt.Errorf("tensor %q has shape %v, parameter %s %v", name, e.shape(), s.Param.Name, []int(s.Param.Stored))}
	}
	runs, err := models.Runs(s.Param.Shape, s.Parts)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	width := int(e.view.DType().Size())
	rest := dst
	for offset, n := range runs {
		if n > len(rest) {
			return fmt.Errorf("models/hf: %s: the shard is larger than its %d elements of memory", name, len(dst))
		}
		decode(rest[:n], e.view.DType(), e.view.Data()[offset*width:])
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return fmt.Errorf("models/hf: %s: the shard is smaller than its %d elements of memory", name, len(dst))
	}
	return nil
}
