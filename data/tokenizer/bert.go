package tokenizer

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalizer is the first half of BERT's BasicTokenizer.
type normalizer struct {
	cleanText    bool // drop control characters, make all white space a space
	spaceChinese bool // put spaces around CJK ideographs
	stripAccents bool
	lowercase    bool
}

func (n normalizer) normalize(text string) string {
	if n.cleanText {
		text = strings.Map(cleanRune, text)
	}
	if n.spaceChinese && strings.ContainsFunc(text, isChinese) {
		text = spaceChinese(text)
	}
	if n.stripAccents && !isASCII(text) {
		text = strings.Map(dropAccent, norm.NFD.String(text))
	}
	if n.lowercase {
		text = lower(text)
	}
	return text
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
}

func cleanRune(r rune) rune {
	switch {
	case r == '\t' || r == '\n' || r == '\r':
		return ' '
	case r == 0 || r == unicode.ReplacementChar || unicode.Is(unicode.C, r):
		return -1
	case unicode.IsSpace(r):
		return ' '
	}
	return r
}

func spaceChinese(text string) string {
	var b strings.Builder
	for _, r := range text {
		if isChinese(r) {
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isChinese says whether r is in a CJK Unified Ideographs block. The ranges are those of Google's BERT.
func isChinese(r rune) bool {
	return r >= 0x3400 && (r <= 0x4DBF || 0x4E00 <= r && r <= 0x9FFF || 0xF900 <= r && r <= 0xFAFF ||
		0x20000 <= r && r <= 0x2A6DF || 0x2A700 <= r && r <= 0x2B73F || 0x2B740 <= r && r <= 0x2B81F ||
		0x2B920 <= r && r <= 0x2CEAF || 0x2F800 <= r && r <= 0x2FA1F)
}

func dropAccent(r rune) rune {
	if unicode.Is(unicode.Mn, r) {
		return -1
	}
	return r
}

// lower maps each character by itself, as Rust's char::to_lowercase does. Only U+0130 becomes two.
func lower(text string) string {
	return strings.ReplaceAll(strings.Map(func(r rune) rune {
		if r == 'İ' {
			return r
		}
		return unicode.ToLower(r)
	}, text), "İ", "i\u0307")
}

// basicWords yields the words of normalised text: split at white space, and each punctuation character
// by itself.
func basicWords(text string, yield func(string)) {
	start := 0
	flush := func(end int) {
		if end > start {
			yield(text[start:end])
		}
	}
	for i, r := range text {
		switch size := len(string(r)); {
		case unicode.IsSpace(r):
			flush(i)
			start = i + size
		case isPunct(r):
			flush(i)
			yield(text[i : i+size])
			start = i + size
		}
	}
	flush(len(text))
}

// isPunct is true for Unicode punctuation and for all of ASCII that is neither letter, digit nor space.
func isPunct(r rune) bool {
	return '!' <= r && r <= '/' || ':' <= r && r <= '@' || '[' <= r && r <= '`' || '{' <= r && r <= '~' || unicode.IsPunct(r)
}
