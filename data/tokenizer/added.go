package tokenizer

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// AddedToken is a token that is found in the text before anything else is done with it. The fields are
// those of added_tokens in tokenizer.json.
type AddedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // not inside a word
	LStrip     bool   `json:"lstrip"`      // takes the white space before it
	RStrip     bool   `json:"rstrip"`      // takes the white space after it
	Normalized bool   `json:"normalized"`  // looked for after normalisation
	Special    bool   `json:"special"`     // carries no text of its own, as [CLS]
}

// matcher finds added tokens: the leftmost, and of those the longest.
type matcher struct {
	byFirst [256][]AddedToken
	any     bool
}

func newMatcher(tokens []AddedToken) *matcher {
	m := &matcher{any: len(tokens) > 0}
	for _, t := range tokens {
		m.byFirst[t.Content[0]] = append(m.byFirst[t.Content[0]], t)
	}
	for _, list := range m.byFirst {
		slices.SortFunc(list, func(a, b AddedToken) int { return cmp.Compare(len(b.Content), len(a.Content)) })
	}
	return m
}

// split yields text in order: stretches without an added token with id -1, and added tokens with theirs.
func (m *matcher) split(text string) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		done := 0
		for i := 0; m.any && i < len(text); i++ {
			t, ok := m.at(text, i)
			if !ok {
				continue
			}
			start, end := stripped(text, t, done, i)
			if start > done && !yield(text[done:start], -1) || !yield(text[start:end], t.ID) {
				return
			}
			done, i = end, end-1
		}
		if done < len(text) {
			yield(text[done:], -1)
		}
	}
}

// at returns the longest token that stands at text[i:].
func (m *matcher) at(text string, i int) (AddedToken, bool) {
	for _, t := range m.byFirst[text[i]] {
		if strings.HasPrefix(text[i:], t.Content) && (!t.SingleWord || standsAlone(text, i, i+len(t.Content))) {
			return t, true
		}
	}
	return AddedToken{}, false
}

// stripped widens the token at text[i:] over the white space that it takes, not before done.
func stripped(text string, t AddedToken, done, i int) (start, end int) {
	start, end = i, i+len(t.Content)
	if t.LStrip {
		start = done + len(strings.TrimRightFunc(text[done:start], unicode.IsSpace))
	}
	if t.RStrip {
		end = len(text) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
	}
	return start, end
}

func standsAlone(text string, start, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:start])
	after, _ := utf8.DecodeRuneInString(text[end:])
	return (start == 0 || !wordRune(before)) && (end == len(text) || !wordRune(after))
}

func wordRune(r rune) bool {
	return r == '_' || unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Pc)
}

// register enters added tokens in a vocabulary, in place.
func register(v vocab, added []AddedToken) error {
	seen := map[string]bool{}
	owner := v.byID()
	for _, t := range added {
		if t.Content == "" || seen[t.Content] {
			return fmt.Errorf("added_tokens: %q with id %d is empty or listed twice", t.Content, t.ID)
		}
		seen[t.Content] = true
		if err := checkID(t.Content, t.ID); err != nil {
			return fmt.Errorf("added_tokens: %w", err)
		}
		if id, ok := v[t.Content]; ok && id != t.ID {
			return fmt.Errorf("added_tokens: %q has id %d, but %d in the vocabulary", t.Content, t.ID, id)
		}
		if name, ok := owner[t.ID]; ok && name != t.Content {
			return fmt.Errorf("added_tokens: id %d is both %q and %q", t.ID, name, t.Content)
		}
		v[t.Content], owner[t.ID] = t.ID, t.Content
	}
	return nil
}

// specialIDs returns the ids of the special ones among tokens in rising order.
func specialIDs(tokens []AddedToken) []int {
	var ids []int
	for _, t := range tokens {
		if t.Special {
			ids = append(ids, t.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func sortByID(tokens []AddedToken) {
	slices.SortFunc(tokens, func(a, b AddedToken) int { return cmp.Compare(a.ID, b.ID) })
}
