package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

func loadGPT2(dir string) (Tokenizer, error) {
	path := filepath.Join(dir, "vocab.json")
	names, err := readFile(path, maxFile)
	if err != nil {
		return nil, err
	}
	mergesPath := filepath.Join(dir, "merges.txt")
	rules, err := readFile(mergesPath, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no merges.txt beside it", path)
	}
	if err != nil {
		return nil, err
	}
	cfg, err := loadConfig(dir)
	if err != nil {
		return nil, err
	}
	v := vocab{}
	if err := decode(names, &v); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	merges, lines, err := parseMerges(rules)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", mergesPath, err)
	}
	t, err := newGPT2(v, merges, cfg)
	var bad *mergeError
	if errors.As(err, &bad) {
		return nil, fmt.Errorf("%s: line %d: %s", mergesPath, lines[bad.rank], bad.text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// newGPT2 builds GPT-2's tokenizer. As there, a byte that a cut-down vocabulary lacks becomes the unknown
// token, which is <|endoftext|> unless the config or the vocabulary names another.
func newGPT2(v vocab, merges []merge, cfg config) (*BPE, error) {
	added, err := cfg.addedTokens(v, "<|endoftext|>")
	if err != nil {
		return nil, err
	}
	opts := bpeOptions{addPrefixSpace: cfg.AddPrefixSpace}
	for _, unk := range []string{string(cfg.UnkToken), "<unk>", "<|endoftext|>"} {
		if _, ok := v[unk]; ok {
			opts.unk = unk
			break
		}
	}
	return newBPE(v, merges, added, opts)
}

// parseMerges reads merges.txt: two names a line, in the order of ranks, after an optional "#version"
// line. It returns the line number of each merge too.
func parseMerges(data []byte) ([]merge, []int, error) {
	var merges []merge
	var lines []int
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || n == 1 && strings.HasPrefix(line, "#version") {
			continue
		}
		left, right, ok := strings.Cut(line, " ")
		if !ok || left == "" || right == "" || strings.Contains(right, " ") {
			return nil, nil, fmt.Errorf("line %d: want two tokens with a space between them, got %.40q", n, line)
		}
		if len(merges) >= maxVocab {
			return nil, nil, fmt.Errorf("line %d: more than %d merges", n, maxVocab)
		}
		merges, lines = append(merges, merge{left, right}), append(lines, n)
	}
	return merges, lines, nil
}
