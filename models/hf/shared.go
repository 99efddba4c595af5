package hf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/nlpodyssey/safetensors"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// metadata is that of every file: transformers refuses files that do not name
// their framework.
var metadata = map[string]string{"format": "pt"}

// SharedFile is a safetensors file of float32 that several processes write
// together, each the elements it holds. Where an element lies follows from the
// names and shapes of the tensors alone, so the writers need not know of each
// other. Unlike the other writers of this package it writes in place: readers
// must wait until all have closed it. Whether every element was written the
// writers must find out among themselves, by [models.CheckCover].
type SharedFile struct {
	file    *os.File
	begin   int64 // of the first tensor
	tensors map[string]*safetensors.TensorInfo
}

// OpenShared opens a file to write tensors of the given shapes into it, and
// makes it if it is not there. All writers give the same shapes.
func OpenShared(path string, shapes map[string][]int) (_ *SharedFile, err error) {
	header, size, tensors, err := layout(shapes)
	if err != nil {
		return nil, &FileError{path, err}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fileError(path, err), fileError(path, f.Close()))
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if have := info.Size(); have != 0 && have != size {
		return nil, fmt.Errorf("has %d bytes, the tensors to write make %d: other writers have other tensors, or it is an old file", have, size)
	}
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(header, 0); err != nil {
		return nil, err
	}
	return &SharedFile{file: f, begin: int64(len(header)), tensors: tensors}, nil
}

// layout returns the header of a file of float32 tensors, the size of the whole
// file, and where after the header each tensor lies.
func layout(shapes map[string][]int) (header []byte, size int64, tensors map[string]*safetensors.TensorInfo, err error) {
	blanks := map[string]blank{}
	for name, shape := range shapes {
		for _, d := range shape {
			if d < 0 {
				return nil, 0, nil, fmt.Errorf("tensor %q has shape %v", name, shape)
			}
		}
		blanks[name] = shape
	}
	var b bytes.Buffer
	if err := safetensors.SerializeToWriter(blanks, metadata, &b); err != nil {
		return nil, 0, nil, err
	}
	var m safetensors.Metadata
	if err := json.Unmarshal(b.Bytes()[8:], &m); err != nil { // the length comes first
		return nil, 0, nil, err
	}
	size = int64(b.Len())
	tensors = m.Tensors()
	for _, t := range tensors {
		size += int64(t.DataOffsets[1] - t.DataOffsets[0])
	}
	return b.Bytes(), size, tensors, nil
}

// WriteShard writes the part of a tensor that s is of its parameter. The name
// need not be the parameter's: moments of an optimizer are cut alike. Each run
// of elements is one write from the memory itself: what lies between the runs
// is for others to write, at the same time.
func (f *SharedFile) WriteShard(name string, s *graph.Shard, data []float32) error {
	path := f.file.Name()
	t, ok := f.tensors[name]
	if !ok {
		return &FileError{path, fmt.Errorf("no tensor is named %q", name)}
	}
	if n := t.DataOffsets[1] - t.DataOffsets[0]; n != 4*uint64(s.Param.Size()) {
		return &FileError{path, fmt.Errorf("tensor %q has shape %v, parameter %s %v", name, t.Shape, s.Param.Name, []int(s.Param.Stored))}
	}
	runs, err := models.Runs(s.Param.Shape, s.Parts)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	rest, begin := data, f.begin+int64(t.DataOffsets[0])
	for offset, n := range runs {
		if n > len(rest) {
			return fmt.Errorf("models/hf: %s: the shard is larger than its %d elements", name, len(data))
		}
		if _, err := f.file.WriteAt(bytesOf(rest[:n]), begin+4*int64(offset)); err != nil {
			return fileError(path, err)
		}
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return fmt.Errorf("models/hf: %s: the shard is smaller than its %d elements", name, len(data))
	}
	return nil
}

// Close flushes what was written to disk and closes the file.
func (f *SharedFile) Close() error {
	return fileError(f.file.Name(), errors.Join(f.file.Sync(), f.file.Close()))
}
