package hf

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// index is a model.safetensors.index.json: which file holds which tensor.
type index struct {
	Metadata struct {
		TotalSize int64 `json:"total_size"` // bytes of all tensors
	} `json:"metadata"`
	WeightMap map[string]string `json:"weight_map"`
}

// readIndex reads an index. Files it names lie in its own directory.
func readIndex(path string) (*index, error) {
	data, err := readLimited(path, 64<<20)
	if err != nil {
		return nil, err
	}
	var ix index
	if err := json.Unmarshal(data, &ix); err != nil {
		return nil, &FileError{path, err}
	}
	if len(ix.WeightMap) == 0 {
		return nil, &FileError{path, fmt.Errorf(`"weight_map" is missing or empty`)}
	}
	for name, file := range ix.WeightMap {
		if !filepath.IsLocal(file) || filepath.Base(file) != file {
			return nil, &FileError{path, fmt.Errorf("tensor %q is said to be in %q, which is not a file of this directory", name, file)}
		}
	}
	return &ix, nil
}

// readLimited reads a small file.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fileError(path, err)
	}
	if int64(len(data)) > limit {
		return nil, &FileError{path, fmt.Errorf("larger than %d bytes", limit)}
	}
	return data, nil
}
