package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/galvani-ml/galvani/internal/inputfile"
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

// maxManifestBytes and maxManifestFiles bound a manifest; real ones are of a few
// kilobytes and list a file or two a pipeline stage.
const (
	maxManifestBytes = 4 << 20
	maxManifestFiles = 1 << 15
)

// ReadManifest reads the manifest of a checkpoint and checks every file it
// lists by size and checksum. Nothing of a checkpoint lies outside its directory:
// names or links that lead out are errors.
func ReadManifest(dir string) (*Manifest, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	path := filepath.Join(dir, manifestName)
	text, err := inputfile.ReadRoot(root, manifestName, path, maxManifestBytes)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		if err := checkFile(root, dir, name, m.Files[name]); err != nil {
			return nil, err
		}
	}
	return m, checkLinks(root, dir)
}

// parseManifest reads a manifest's text.
func parseManifest(text []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	switch {
	case m.Schema != manifestSchema:
		return nil, fmt.Errorf("schema %.100q, this version reads %q", m.Schema, manifestSchema)
	case m.Step < 0 || m.Tokens < 0:
		return nil, fmt.Errorf("step %d after %d tokens: neither can be negative", m.Step, m.Tokens)
	case len(m.Files) > maxManifestFiles:
		return nil, fmt.Errorf("lists %d files, at most %d are read", len(m.Files), maxManifestFiles)
	}
	for name, f := range m.Files {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("file name %.100q leaves the checkpoint", name)
		}
		if f.Bytes < 0 {
			return nil, fmt.Errorf("file %.100q of %d bytes", name, f.Bytes)
		}
	}
	return &m, nil
}

// checkFile compares a file of a checkpoint with what it must be.
func checkFile(root *os.Root, dir, name string, want FileInfo) error {
	got, err := fileInfo(root, dir, name, want.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, manifestName), err)
	}
	switch {
	case got.Bytes != want.Bytes:
		return fmt.Errorf("%s: damaged: %d bytes, the manifest says %d; use an older checkpoint", filepath.Join(dir, name), got.Bytes, want.Bytes)
	case got != want:
		return fmt.Errorf("%s: damaged: CRC32C %s, the manifest says %.100q; use an older checkpoint", filepath.Join(dir, name), got.CRC32C, want.CRC32C)
	}
	return nil
}

// checkLinks refuses a checkpoint with a link that leads out of it, listed in
// the manifest or not.
func checkLinks(root *os.Root, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := root.Stat(e.Name()); err != nil {
			return fmt.Errorf("%s: a link out of the checkpoint: %w", filepath.Join(dir, e.Name()), err)
		}
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fileInfo reads a file through, but not far beyond the bytes that it may have.
func fileInfo(root *os.Root, dir, name string, most int64) (FileInfo, error) {
	path := filepath.Join(dir, name)
	f, err := inputfile.OpenRoot(root, name, path)
	if err != nil {
		return FileInfo{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return FileInfo{}, err
	}
	if n := info.Size(); n > most {
		return FileInfo{Bytes: n}, nil
	}
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, f)
	if err != nil {
		return FileInfo{}, fmt.Errorf("%s: %w", path, err)
	}
	return FileInfo{Bytes: n, CRC32C: fmt.Sprintf("%08x", sum.Sum32())}, nil
}
