package hf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/nlpodyssey/safetensors"

	"github.com/galvani-ml/galvani/internal/atomicfile"
	"github.com/galvani-ml/galvani/models"
)

// Tensor is what is written: elements row-major, shape as stored.
type Tensor struct {
	Shape []int
	Data  []float32
}

// Write writes a whole model into dir, which it creates: config.json and
// model.safetensors.
func Write(dir string, cfg models.Config, tensors iter.Seq2[string, Tensor]) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fileError(dir, err)
	}
	if err := writeTensors(filepath.Join(dir, "model.safetensors"), tensors); err != nil {
		return err
	}
	return WriteConfig(dir, cfg)
}

// WriteConfig writes dir/config.json.
func WriteConfig(dir string, cfg models.Config) error {
	return writeJSON(filepath.Join(dir, "config.json"), cfg)
}

// writeTensors writes tensors as float32 into one safetensors file. Their names
// and data are used until it returns.
func writeTensors(path string, tensors iter.Seq2[string, Tensor]) error {
	views := map[string]view{}
	for name, t := range tensors {
		if _, ok := views[name]; ok {
			return &FileError{path, fmt.Errorf("two tensors are named %q", name)}
		}
		size := 1
		for _, d := range t.Shape {
			size *= d
		}
		if size != len(t.Data) {
			return &FileError{path, fmt.Errorf("tensor %q has %d elements, its shape %v says %d", name, len(t.Data), t.Shape, size)}
		}
		views[name] = view{t}
	}
	err := atomicfile.WriteStream(path, func(w io.Writer) error { return safetensors.SerializeToWriter(views, metadata, w) })
	return fileError(path, err)
}

// ShardFile names the file i, from 0, of n files: "model-00001-of-00004.safetensors".
func ShardFile(base string, i, n int) string {
	return fmt.Sprintf("%s-%05d-of-%05d.safetensors", base, i+1, n)
}

// WriteIndex joins files of dir, as written by [SharedFile], into one set of
// tensors by writing base.safetensors.index.json. It reads their headers, so
// the index is true. A file base.safetensors, which readers would prefer to
// the index, is removed.
func WriteIndex(dir, base string, files ...string) error {
	t := &Tensors{entries: map[string]entry{}}
	defer t.Close()
	for _, name := range files {
		if err := t.add(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	ix := index{WeightMap: map[string]string{}}
	for name, e := range t.entries {
		ix.WeightMap[name] = filepath.Base(e.file.path)
		ix.Metadata.TotalSize += int64(e.view.DataLen())
	}
	single := filepath.Join(dir, base+".safetensors")
	if err := writeJSON(single+".index.json", ix); err != nil {
		return err
	}
	if err := os.Remove(single); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError(single, err)
	}
	return nil
}

// writeJSON writes v indented as transformers does.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return &FileError{path, err}
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return &FileError{path, err}
	}
	b.WriteByte('\n')
	return fileError(path, atomicfile.WriteStream(path, func(w io.Writer) error {
		_, err := b.WriteTo(w)
		return err
	}))
}
