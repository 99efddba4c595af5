package hf

import (
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
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fileError(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &FileError{path, errors.New("not a regular file")}
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

// parse reads the header of a safetensors file and checks that it describes
// the rest to the byte.
func parse(data []byte) (safetensors.SafeTensors, error) {
	tensors, err := safetensors.Deserialize(data)
	if err != nil {
		return tensors, fmt.Errorf("not a whole safetensors file: %w (%d bytes; was it truncated?)", err, len(data))
	}
	for _, t := range tensors.Tensors() {
		for _, d := range t.TensorView.Shape() {
			if d > 1<<40 {
				return tensors, fmt.Errorf("tensor %q has a dimension of %d", t.Name, d)
			}
		}
	}
	return tensors, nil
}
