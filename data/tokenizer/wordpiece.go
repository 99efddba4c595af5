package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// WordPiece is BERT's tokenizer. It is safe for use by several goroutines.
type WordPiece struct {
	vocab   vocab
	names   []string // by id
	added   []AddedToken
	options wordPieceOptions
	unk     int
	longest int      // bytes of the longest name, to bound the greedy search
	before  *matcher // added tokens looked for in the raw text
	after   *matcher // and those looked for in normalised text
}

// wordPieceOptions are the settings of a tokenizer.json that change ids or the decoded text.
type wordPieceOptions struct {
	normalizer
	unk      string
	prefix   string // of a piece that continues a word
	maxChars int    // a longer word is unknown
	cleanup  bool   // decode without spaces before punctuation
}

func newWordPiece(v vocab, added []AddedToken, opts wordPieceOptions) (*WordPiece, error) {
	if err := register(v, added); err != nil {
		return nil, err
	}
	t := &WordPiece{vocab: v, added: added, options: opts, names: make([]string, v.size())}
	for name, id := range v {
		if err := checkID(name, id); err != nil {
			return nil, err
		}
		t.names[id] = name
		t.longest = max(t.longest, len(name))
	}
	unk, ok := v[opts.unk]
	if !ok {
		return nil, fmt.Errorf("unknown token %q is not in the vocabulary", opts.unk)
	}
	t.unk = unk
	var before, after []AddedToken
	for _, a := range added {
		if !a.Normalized {
			before = append(before, a)
		} else if a.Content = opts.normalize(a.Content); a.Content != "" {
			after = append(after, a)
		}
	}
	t.before, t.after = newMatcher(before), newMatcher(after)
	return t, nil
}

// VocabSize is one more than the largest id.
func (t *WordPiece) VocabSize() int { return len(t.names) }

// ID looks up a token by its name in the vocabulary, such as "[MASK]" or "##ing".
func (t *WordPiece) ID(token string) (int, bool) {
	id, ok := t.vocab[token]
	return id, ok
}

// SpecialIDs returns the ids of the special tokens in rising order.
func (t *WordPiece) SpecialIDs() []int { return specialIDs(t.added) }

// Encode returns the ids of text, without [CLS] and [SEP].
func (t *WordPiece) Encode(text string) []int {
	var ids []int
	for raw, id := range t.before.split(text) {
		if id >= 0 {
			ids = append(ids, id)
			continue
		}
		for part, id := range t.after.split(t.options.normalize(raw)) {
			if id >= 0 {
				ids = append(ids, id)
				continue
			}
			basicWords(part, func(word string) { ids = t.appendWord(ids, word) })
		}
	}
	return ids
}

// appendWord appends the pieces of a word: the longest that the vocabulary has, then the longest of the
// rest, and so on. Where nothing fits the whole word is unknown.
func (t *WordPiece) appendWord(ids []int, word string) []int {
	if utf8.RuneCountInString(word) > t.options.maxChars {
		return append(ids, t.unk)
	}
	from, prefix := len(ids), ""
	for word != "" {
		n, id := t.longestPiece(prefix, word)
		if n == 0 {
			return append(ids[:from], t.unk)
		}
		ids = append(ids, id)
		word, prefix = word[n:], t.options.prefix
	}
	return ids
}

// longestPiece returns the length and id of the longest start of word that is in the vocabulary.
func (t *WordPiece) longestPiece(prefix, word string) (n, id int) {
	piece := prefix + word[:min(len(word), max(0, t.longest-len(prefix)))]
	for len(piece) > len(prefix) {
		if id, ok := t.vocab[piece]; ok {
			return len(piece) - len(prefix), id
		}
		_, size := utf8.DecodeLastRuneInString(piece)
		piece = piece[:len(piece)-size]
	}
	return 0, 0
}

// Decode joins pieces to words and words with spaces.
func (t *WordPiece) Decode(ids []int) string {
	var b []byte
	for i, id := range ids {
		b = t.AppendToken(b, id, i == 0)
	}
	return string(b)
}

// AppendToken appends the text of id: a piece that continues a word as it is, others after a space.
func (t *WordPiece) AppendToken(dst []byte, id int, first bool) []byte {
	if id < 0 || id >= len(t.names) || t.names[id] == "" {
		return dst
	}
	text := t.names[id]
	if !first {
		if rest, ok := strings.CutPrefix(text, t.options.prefix); ok {
			text = rest
		} else {
			text = " " + text
		}
	}
	if t.options.cleanup {
		text = cleanUp(text)
	}
	return append(dst, text...)
}

// cleanUp undoes the spaces around English punctuation, as Hugging Face's WordPiece decoder does to
// each token.
func cleanUp(text string) string {
	for _, r := range [...][2]string{
		{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"},
		{" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
	} {
		text = strings.ReplaceAll(text, r[0], r[1])
	}
	return text
}

// Cut finds a line break that follows a character that is not white space: words never span it.
func (t *WordPiece) Cut(text string, near int) int {
	if slices.ContainsFunc(t.added, spansLines) {
		return len(text)
	}
	return cutAtLine(text, near)
}
