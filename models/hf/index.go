package hf

import (
	"encoding/json"
	"errors"
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

// maxIndexBytes bounds an index; that of a model of 60 layers with 256 experts
// each is of 9 MB.
const maxIndexBytes = 32 << 20

// readIndex reads an index. Files it names lie in its own directory.
func readIndex(path string) (*index, error) {
	data, err := readLimited(path, maxIndexBytes)
	if err != nil {
		return nil, err
	}
	ix, err := parseIndex(data)
	if err != nil {
		return nil, &FileError{path, err}
	}
	return ix, nil
}

func parseIndex(data []byte) (*index, error) {
	var ix index
	if err := json.Unmarshal(data, &ix); err != nil {
		return nil, err
	}
	if len(ix.WeightMap) == 0 {
		return nil, errors.New(`"weight_map" is missing or empty`)
	}
	for name, file := range ix.WeightMap {
		if !filepath.IsLocal(file) || filepath.Base(file) != file || file == "." {
			return nil, fmt.Errorf("tensor %.100q is said to be in %.100q, which is not a file of this directory", name, file)
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
