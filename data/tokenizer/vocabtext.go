package tokenizer

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
)

func loadVocabText(dir string) (Tokenizer, error) {
	path := filepath.Join(dir, "vocab.txt")
	data, err := readFile(path, maxFile)
	if err != nil {
		return nil, err
	}
	cfg, err := loadConfig(dir)
	if err != nil {
		return nil, err
	}
	t, err := parseVocabText(data, cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// parseVocabText reads BERT's vocab.txt: one token a line, its id the line number from 0.
func parseVocabText(data []byte, cfg config) (*WordPiece, error) {
	v, names := vocab{}, map[int]string{}
	for line := range bytes.Lines(data) {
		name := strings.TrimRight(string(line), "\r\n")
		id := len(v)
		if name == "" {
			return nil, fmt.Errorf("line %d is empty; want one token a line", id+1)
		}
		if err := v.add(names, name, id); err != nil {
			return nil, fmt.Errorf("line %d: %w", id+1, err)
		}
	}
	added, err := cfg.addedTokens(v, "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
	if err != nil {
		return nil, err
	}
	lowercase := orElse(cfg.DoLowerCase, true)
	unk := string(cfg.UnkToken)
	if unk == "" {
		unk = "[UNK]"
	}
	return newWordPiece(v, added, wordPieceOptions{
		normalizer: normalizer{
			cleanText: true, spaceChinese: orElse(cfg.TokenizeChineseChars, true),
			lowercase: lowercase, stripAccents: orElse(cfg.StripAccents, lowercase),
		},
		unk: unk, prefix: "##", maxChars: 100, cleanup: true,
	})
}
