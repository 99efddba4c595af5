package hf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/nlpodyssey/safetensors"
)

// file is an open safetensors file. Its tensors are views of its memory, until
// that is released.
type file struct {
	path    string
	release func() error
	tensors safetensors.SafeTensors
}

func openFile(path string) (*file, error) {
	info, err := os.Stat(path) // before it is opened: opening a pipe waits for a writer
	if err != nil {
		return nil, fileError(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &FileError{path, errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, fileError(path, err)
	}
	data, release, err := mapFile(f, info.Size())
	if err != nil {
		return nil, &FileError{path, fmt.Errorf("mapping it: %w", err)}
	}
	tensors, err := parse(data)
	if err != nil {
		return nil, errors.Join(&FileError{path, err}, release())
	}
	return &file{path: path, release: release, tensors: tensors}, nil
}

// fileError adds the path, which os errors then need not repeat. It is nil where
// err is.
func fileError(path string, err error) error {
	if err == nil {
		return nil
	}
	if p := (*os.PathError)(nil); errors.As(err, &p) {
		err = p.Err
	}
	if l := (*os.LinkError)(nil); errors.As(err, &l) {
		err = l.Err
	}
	return &FileError{path, err}
}

// maxHeaderBytes bounds the header of a safetensors file; one takes about 100
// bytes a tensor, and decoding it up to 60 times its size in memory.
const maxHeaderBytes = 8 << 20

// parse reads the header of a safetensors file and checks that it describes
// the rest to the byte.
func parse(data []byte) (safetensors.SafeTensors, error) {
	if len(data) >= 8 {
		if n := binary.LittleEndian.Uint64(data); n > maxHeaderBytes {
			return safetensors.SafeTensors{}, fmt.Errorf("not a safetensors file: it says that its header has %d bytes, at most %d are read", n, maxHeaderBytes)
		}
	}
	tensors, err := safetensors.Deserialize(data)
	if err != nil {
		// The package's errors may repeat all of the header.
		return tensors, fmt.Errorf("not a whole safetensors file: %.300s (%d bytes; was it truncated?)", err.Error(), len(data))
	}
	for _, t := range tensors.Tensors() {
		for _, d := range t.TensorView.Shape() {
			if d > 1<<40 {
				return tensors, fmt.Errorf("tensor %.100q has a dimension of %d", t.Name, d)
			}
		}
	}
	return tensors, nil
}
