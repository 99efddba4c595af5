package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// BPE is a byte-level byte-pair encoding, as in GPT-2. It is safe for use by several goroutines.
type BPE struct {
	vocab   vocab    // by name, added tokens included
	texts   []string // by id: the bytes a token stands for; "" where an id has no token
	merges  []merge  // by rank
	added   []AddedToken
	options bpeOptions

	byPair  map[pair]step
	byByte  [256]int32 // the token of a single byte, or unk, or -1
	matcher *matcher
	pool    sync.Pool // of *encoder
}

// bpeOptions are the settings of a tokenizer.json that change ids.
type bpeOptions struct {
	unk            string // what a byte outside the vocabulary becomes; "" drops it
	addPrefixSpace bool   // a text that does not start with a space gets one
	wholeText      bool   // no pre-tokens: merge across words
	ignoreMerges   bool   // a pre-token that is in the vocabulary is taken whole
}

// merge is a rule of a merges file: two names whose concatenation is a third.
type merge struct{ left, right string }

// pair is two neighbouring ids.
type pair struct{ left, right int32 }

// step is the rank of a merge and the id it makes.
type step struct{ rank, id int32 }

// newBPE builds a tokenizer from a vocabulary, merges in the order of ranks, and added tokens. An error
// about a merge is a *mergeError.
func newBPE(v vocab, merges []merge, added []AddedToken, opts bpeOptions) (*BPE, error) {
	if err := register(v, added); err != nil {
		return nil, err
	}
	t := &BPE{vocab: v, merges: merges, added: added, options: opts, matcher: newMatcher(added)}
	t.texts = make([]string, v.size())
	for name, id := range v {
		if err := checkID(name, id); err != nil {
			return nil, err
		}
		t.texts[id] = bytesOfName(name)
	}
	if err := t.indexBytes(); err != nil {
		return nil, err
	}
	if err := t.indexMerges(); err != nil {
		return nil, err
	}
	t.pool.New = func() any { return &encoder{bpe: t, cache: map[string][]int{}} }
	return t, nil
}

func (t *BPE) indexBytes() error {
	unk := -1
	if t.options.unk != "" {
		id, ok := t.vocab[t.options.unk]
		if !ok {
			return fmt.Errorf("unknown token %q is not in the vocabulary", t.options.unk)
		}
		unk = id
	}
	for b := range t.byByte {
		t.byByte[b] = int32(unk)
		if id, ok := t.vocab[string(runeOfByte[b])]; ok {
			t.byByte[b] = int32(id)
		}
	}
	return nil
}

// mergeError says which rule of a merges file is wrong.
type mergeError struct {
	rank int // from 0
	text string
}

func (e *mergeError) Error() string { return fmt.Sprintf("merge %d: %s", e.rank, e.text) }

func (t *BPE) indexMerges() error {
	t.byPair = make(map[pair]step, len(t.merges))
	for rank, m := range t.merges {
		var ids [3]int
		for i, name := range []string{m.left, m.right, m.left + m.right} {
			id, ok := t.vocab[name]
			if !ok {
				return &mergeError{rank, fmt.Sprintf("%q + %q: token %q is not in the vocabulary", m.left, m.right, name)}
			}
			ids[i] = id
		}
		p := pair{int32(ids[0]), int32(ids[1])}
		if old, ok := t.byPair[p]; ok {
			return &mergeError{rank, fmt.Sprintf("%q + %q is already merge %d", m.left, m.right, old.rank)}
		}
		t.byPair[p] = step{int32(rank), int32(ids[2])}
	}
	return nil
}

// VocabSize is one more than the largest id.
func (t *BPE) VocabSize() int { return len(t.texts) }

// ID looks up a token by its name in the vocabulary, where "Ġ" stands for a space.
func (t *BPE) ID(token string) (int, bool) {
	id, ok := t.vocab[token]
	return id, ok
}

// SpecialIDs returns the ids of the special tokens in rising order.
func (t *BPE) SpecialIDs() []int { return specialIDs(t.added) }

// Encode returns the ids of text.
func (t *BPE) Encode(text string) []int {
	e := t.pool.Get().(*encoder)
	defer t.pool.Put(e)
	ids := make([]int, 0, len(text)/3+1)
	for part, id := range t.matcher.split(text) {
		if id >= 0 {
			ids = append(ids, id)
			continue
		}
		if t.options.addPrefixSpace && part[0] != ' ' {
			part = " " + part
		}
		for part != "" {
			n := len(part)
			if !t.options.wholeText {
				n = preToken(part)
			}
			ids = e.append(ids, part[:n])
			part = part[n:]
		}
	}
	return ids
}

// Decode returns the bytes of ids as they are: what was encoded comes back even where it is no UTF-8.
func (t *BPE) Decode(ids []int) string {
	var b []byte
	for _, id := range ids {
		b = t.AppendToken(b, id, false)
	}
	return string(b)
}

// AppendToken appends the bytes of id.
func (t *BPE) AppendToken(dst []byte, id int, _ bool) []byte {
	if id < 0 || id >= len(t.texts) {
		return dst
	}
	return append(dst, t.texts[id]...)
}

// Cut finds a line break that follows something else than white space: no pre-token spans it, and what
// is before it does not look past it.
func (t *BPE) Cut(text string, near int) int {
	if t.options.addPrefixSpace || t.options.wholeText || slices.ContainsFunc(t.added, spansLines) {
		return len(text)
	}
	return cutAtLine(text, near)
}

func spansLines(t AddedToken) bool { return t.LStrip || t.RStrip || strings.Contains(t.Content, "\n") }

// cutAtLine returns the first position >= near where a line break follows a character that is not white
// space, or len(text).
func cutAtLine(text string, near int) int {
	for i := max(near, 1); i < len(text); i++ {
		n := strings.IndexByte(text[i:], '\n')
		if n < 0 {
			break
		}
		i += n
		if r, _ := utf8.DecodeLastRuneInString(text[:i]); slowClass(r) != space {
			return i
		}
	}
	return len(text)
}
