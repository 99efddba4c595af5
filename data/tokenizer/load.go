package tokenizer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFile bounds the files of a tokenizer, maxConfig its tokenizer_config.json.
const (
	maxFile   = 64 << 20
	maxConfig = 8 << 20
)

// ErrNotFound is wrapped by the error of [Load] when a directory holds no tokenizer.
var ErrNotFound = errors.New("no tokenizer found")

// Load reads the tokenizer in a Hugging Face model directory: tokenizer.json if it is there, else GPT-2's
// vocab.json and merges.txt, else BERT's vocab.txt. For the latter two a tokenizer_config.json beside them
// says what they leave open, such as do_lower_case. When there is none the error is [ErrNotFound].
func Load(dir string) (Tokenizer, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("tokenizer: load: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("tokenizer: load: %s is a file; name the directory that holds it", dir)
	}
	for _, source := range []struct {
		file string
		load func(dir string) (Tokenizer, error)
	}{{"tokenizer.json", loadHF}, {"vocab.json", loadGPT2}, {"vocab.txt", loadVocabText}} {
		if _, err := os.Stat(filepath.Join(dir, source.file)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		t, err := source.load(dir)
		if err != nil {
			return nil, fmt.Errorf("tokenizer: load: %w", err)
		}
		return t, nil
	}
	return nil, fmt.Errorf("tokenizer: %w in %s: looked for tokenizer.json, vocab.json with merges.txt, and vocab.txt", ErrNotFound, dir)
}

// LoadFile reads one tokenizer.json, whatever its name.
func LoadFile(path string) (Tokenizer, error) {
	data, err := readFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: load: %w", err)
	}
	t, err := parseHF(data)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: load: %s: %w", path, err)
	}
	return t, nil
}

func loadHF(dir string) (Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.json")
	data, err := readFile(path, maxFile)
	if err != nil {
		return nil, err
	}
	t, err := parseHF(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// readFile is os.ReadFile with a limit in bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d MiB, too large for a tokenizer", path, limit>>20)
	}
	return data, nil
}
