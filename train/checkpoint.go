package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Names in a run's directory.
const (
	ConfigName     = "config.yaml"
	metricsName    = "metrics.jsonl"
	checkpointsDir = "checkpoints"
	manifestName   = "manifest.json"
	stepPrefix     = "step-"
	partialSuffix  = ".partial"
)

const manifestSchema = "galvani/checkpoint/v1"

// Manifest describes a checkpoint. It is written last: a directory without one
// is no checkpoint.
type Manifest struct {
	Schema string              `json:"schema"`
	Step   int                 `json:"step"`   // steps taken
	Tokens int64               `json:"tokens"` // trained on
	Seed   uint64              `json:"seed"`
	Plan   string              `json:"plan"` // the plan it was saved under; any other resumes it
	Files  map[string]FileInfo `json:"files"`
}

// FileInfo is what a file must be.
type FileInfo struct {
	Bytes  int64  `json:"bytes"`
	CRC32C string `json:"crc32c"` // Castagnoli, eight hexadecimal digits
}

// ErrNoCheckpoint says that a run has none to resume from.
var ErrNoCheckpoint = errors.New("no complete checkpoint")

// stepDir is the directory of the checkpoint after step.
func stepDir(out string, step int) string {
	return filepath.Join(out, checkpointsDir, fmt.Sprintf("%s%08d", stepPrefix, step))
}

// LatestCheckpoint returns the newest complete checkpoint of a run.
func LatestCheckpoint(out string) (string, *Manifest, error) {
	dir := filepath.Join(out, checkpointsDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	for _, e := range slices.Backward(entries) { // ReadDir sorts by name
		if _, err := strconv.Atoi(strings.TrimPrefix(e.Name(), stepPrefix)); err != nil {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if m, err := ReadManifest(path); !errors.Is(err, fs.ErrNotExist) {
			return path, m, err
		}
	}
	return "", nil, fmt.Errorf("%w in %s", ErrNoCheckpoint, dir)
}

// ReadManifest reads the manifest of a checkpoint and checks every file it
// lists by size and checksum.
func ReadManifest(dir string) (*Manifest, error) {
	path := filepath.Join(dir, manifestName)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.Schema != manifestSchema {
		return nil, fmt.Errorf("%s: schema %q, this version reads %q", path, m.Schema, manifestSchema)
	}
	for name, want := range m.Files {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("%s: file name %q leaves the checkpoint", path, name)
		}
		got, err := fileInfo(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if got != want {
			return nil, fmt.Errorf("%s: damaged: %d bytes with CRC32C %s, the manifest says %d and %s; use an older checkpoint",
				filepath.Join(dir, name), got.Bytes, got.CRC32C, want.Bytes, want.CRC32C)
		}
	}
	return &m, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fileInfo reads a file through.
func fileInfo(path string) (FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return FileInfo{}, err
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, f)
	if err != nil {
		return FileInfo{}, fmt.Errorf("%s: %w", path, err)
	}
	return FileInfo{Bytes: n, CRC32C: fmt.Sprintf("%08x", sum.Sum32())}, nil
}
