package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// hfFile is Hugging Face's tokenizer.json. Truncation and padding are left to the caller of a tokenizer,
// and so is the post-processor's adding of [CLS] and [SEP].
type hfFile struct {
	Version       string          `json:"version"`
	Truncation    json.RawMessage `json:"truncation"`
	Padding       json.RawMessage `json:"padding"`
	AddedTokens   hfAddedTokens   `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

// parseHF reads a tokenizer.json.
func parseHF(data []byte) (Tokenizer, error) {
	var f hfFile
	if err := decode(data, &f); err != nil {
		return nil, err
	}
	if len(f.Model) == 0 {
		return nil, errors.New("no \"model\"; is this a tokenizer.json?")
	}
	kind, err := typeOf(f.Model, "model")
	if err != nil {
		return nil, err
	}
	if kind == "" {
		kind = guessModel(f.Model)
	}
	switch kind {
	case "BPE":
		return parseHFBPE(f)
	case "WordPiece":
		return parseHFWordPiece(f)
	}
	return nil, fmt.Errorf("model type %q is not supported; BPE and WordPiece are", kind)
}

// guessModel names the model of an old file that does not.
func guessModel(model json.RawMessage) string {
	var m struct{ Merges json.RawMessage }
	if json.Unmarshal(model, &m) == nil && m.Merges != nil {
		return "BPE"
	}
	return "WordPiece"
}

// hfBPE is the model of a BPE tokenizer.json.
type hfBPE struct {
	Type                    string   `json:"type"`
	Dropout                 *float64 `json:"dropout"`
	UnkToken                *string  `json:"unk_token"`
	ContinuingSubwordPrefix *string  `json:"continuing_subword_prefix"`
	EndOfWordSuffix         *string  `json:"end_of_word_suffix"`
	FuseUnk                 bool     `json:"fuse_unk"`
	ByteFallback            bool     `json:"byte_fallback"`
	IgnoreMerges            bool     `json:"ignore_merges"`
	Vocab                   vocab    `json:"vocab"`
	Merges                  hfMerges `json:"merges"`
}

// hfByteLevel is a pre-tokenizer, decoder or post-processor of type ByteLevel.
type hfByteLevel struct {
	Type           string `json:"type"`
	AddPrefixSpace bool   `json:"add_prefix_space"`
	TrimOffsets    bool   `json:"trim_offsets"`
	UseRegex       *bool  `json:"use_regex,omitempty"`
}

func parseHFBPE(f hfFile) (Tokenizer, error) {
	var m hfBPE
	if err := decode(f.Model, &m); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if err := m.unsupported(); err != nil {
		return nil, err
	}
	if err := wantTypes(f, "", "ByteLevel", "ByteLevel"); err != nil {
		return nil, err
	}
	var pre hfByteLevel
	if err := decode(f.PreTokenizer, &pre); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	opts := bpeOptions{
		addPrefixSpace: pre.AddPrefixSpace,
		wholeText:      pre.UseRegex != nil && !*pre.UseRegex,
		ignoreMerges:   m.IgnoreMerges,
	}
	if m.UnkToken != nil {
		opts.unk = *m.UnkToken
	}
	if m.Vocab == nil {
		return nil, errors.New("model: no vocab")
	}
	t, err := newBPE(m.Vocab, m.Merges, f.AddedTokens, opts)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return t, nil
}

// unsupported names a setting that would give other ids than this package's.
func (m hfBPE) unsupported() error {
	set := func(s *string) bool { return s != nil && *s != "" }
	for name, bad := range map[string]bool{
		"dropout":                   m.Dropout != nil && *m.Dropout != 0,
		"continuing_subword_prefix": set(m.ContinuingSubwordPrefix),
		"end_of_word_suffix":        set(m.EndOfWordSuffix),
		"fuse_unk":                  m.FuseUnk,
		"byte_fallback":             m.ByteFallback,
	} {
		if bad {
			return fmt.Errorf("model: %s is not supported for byte-level BPE", name)
		}
	}
	return nil
}

// hfMerges reads merges as "a b" or, as newer files have them, ["a", "b"].
type hfMerges []merge

// UnmarshalJSON reads either form.
func (m *hfMerges) UnmarshalJSON(data []byte) error {
	*m = hfMerges{}
	return eachItem(data, "merges", func(rank int, item json.RawMessage) error {
		var parts []string
		if bytes.HasPrefix(item, []byte("[")) {
			if err := json.Unmarshal(item, &parts); err != nil {
				return fmt.Errorf("merge %d: %w", rank, err)
			}
		} else {
			var s string
			if err := json.Unmarshal(item, &s); err != nil {
				return fmt.Errorf("merge %d: %w", rank, err)
			}
			parts = strings.Split(s, " ")
		}
		if len(parts) != 2 || parts[0] == "" || parts[1] == "" {
			return fmt.Errorf("merge %d: want two tokens, got %.40s", rank, item)
		}
		*m = append(*m, merge{parts[0], parts[1]})
		return nil
	})
}

// hfAddedTokens are the added_tokens of a tokenizer.json.
type hfAddedTokens []AddedToken

// maxAdded bounds added tokens; files have some hundred. Text is compared with all
// that begin with the same byte, at every position.
const maxAdded = 1 << 16

// UnmarshalJSON reads a list.
func (l *hfAddedTokens) UnmarshalJSON(data []byte) error {
	*l = nil
	return eachItem(data, "added_tokens", func(i int, item json.RawMessage) error {
		if i >= maxAdded {
			return fmt.Errorf("more than %d added tokens", maxAdded)
		}
		var t AddedToken
		if err := json.Unmarshal(item, &t); err != nil {
			return fmt.Errorf("added token %d: %w", i, err)
		}
		*l = append(*l, t)
		return nil
	})
}

// eachItem passes the items of a JSON list, or null, to take, one at a time: a
// list of many small items takes many times its size in memory. It stops after
// maxVocab.
func eachItem(data []byte, what string, take func(i int, item json.RawMessage) error) error {
	if string(data) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return fmt.Errorf("%s: want a list, got %.20s", what, data)
	}
	var item json.RawMessage
	for i := 0; dec.More(); i++ {
		if i >= maxVocab {
			return fmt.Errorf("%s: more than %d", what, maxVocab)
		}
		if err := dec.Decode(&item); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := take(i, item); err != nil {
			return err
		}
	}
	return nil
}

// hfBertNormalizer is the normalizer of BERT's tokenizer.json.
type hfBertNormalizer struct {
	Type               string `json:"type"`
	CleanText          bool   `json:"clean_text"`
	HandleChineseChars bool   `json:"handle_chinese_chars"`
	StripAccents       *bool  `json:"strip_accents"`
	Lowercase          bool   `json:"lowercase"`
}

// hfWordPiece is the model of a WordPiece tokenizer.json.
type hfWordPiece struct {
	Type                    string `json:"type"`
	UnkToken                string `json:"unk_token"`
	ContinuingSubwordPrefix string `json:"continuing_subword_prefix"`
	MaxInputCharsPerWord    int    `json:"max_input_chars_per_word"`
	Vocab                   vocab  `json:"vocab"`
}

// hfWordPieceDecoder joins WordPieces to text.
type hfWordPieceDecoder struct {
	Type    string `json:"type"`
	Prefix  string `json:"prefix"`
	Cleanup bool   `json:"cleanup"`
}

// maxWordChars bounds the words that are cut into pieces, which takes up to the
// third power of their length; files have 100.
const maxWordChars = 1000

func parseHFWordPiece(f hfFile) (Tokenizer, error) {
	m := hfWordPiece{UnkToken: "[UNK]", ContinuingSubwordPrefix: "##", MaxInputCharsPerWord: 100}
	if err := decode(f.Model, &m); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if err := wantTypes(f, "BertNormalizer", "BertPreTokenizer", "WordPiece"); err != nil {
		return nil, err
	}
	var norm hfBertNormalizer
	if err := decode(f.Normalizer, &norm); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	dec := hfWordPieceDecoder{Prefix: "##", Cleanup: true}
	if err := decode(f.Decoder, &dec); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	if dec.Prefix != m.ContinuingSubwordPrefix {
		return nil, fmt.Errorf("decoder: prefix %q is not the model's %q", dec.Prefix, m.ContinuingSubwordPrefix)
	}
	if m.Vocab == nil {
		return nil, errors.New("model: no vocab")
	}
	if n := m.MaxInputCharsPerWord; n < 1 || n > maxWordChars {
		return nil, fmt.Errorf("model: max_input_chars_per_word is %d, needs 1 to %d", n, maxWordChars)
	}
	t, err := newWordPiece(m.Vocab, f.AddedTokens, wordPieceOptions{
		normalizer: normalizer{
			cleanText: norm.CleanText, spaceChinese: norm.HandleChineseChars, lowercase: norm.Lowercase,
			stripAccents: orElse(norm.StripAccents, norm.Lowercase),
		},
		unk: m.UnkToken, prefix: m.ContinuingSubwordPrefix, maxChars: m.MaxInputCharsPerWord, cleanup: dec.Cleanup,
	})
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return t, nil
}

func orElse(v *bool, otherwise bool) bool {
	if v != nil {
		return *v
	}
	return otherwise
}

// wantTypes checks the parts of a tokenizer.json that have one supported type each ("" for none).
func wantTypes(f hfFile, normalizer, preTokenizer, decoder string) error {
	for _, part := range []struct {
		name, want string
		raw        json.RawMessage
	}{{"normalizer", normalizer, f.Normalizer}, {"pre_tokenizer", preTokenizer, f.PreTokenizer}, {"decoder", decoder, f.Decoder}} {
		got, err := typeOf(part.raw, part.name)
		if err != nil {
			return err
		}
		if got != part.want {
			return fmt.Errorf("%s: type %q is not supported with this model; want %q", part.name, got, part.want)
		}
	}
	return nil
}

// typeOf returns the "type" of a part of a tokenizer.json, "" where the part is null or absent.
func typeOf(raw json.RawMessage, name string) (string, error) {
	var part struct{ Type string }
	if len(raw) == 0 {
		return "", nil
	}
	if err := json.Unmarshal(raw, &part); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return part.Type, nil
}

// decode is json.Unmarshal with the line and column of a syntax error.
func decode(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		before := data[:min(int(syntax.Offset), len(data))]
		line := 1 + bytes.Count(before, []byte("\n"))
		column := len(before) - 1 - bytes.LastIndexByte(before, '\n')
		return fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	return err
}
