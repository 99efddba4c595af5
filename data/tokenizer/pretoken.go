package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// class sorts characters as GPT-2's pattern does.
type class uint8

const (
	other  class = iota // [^\s\p{L}\p{N}]
	space               // \s
	letter              // \p{L}
	number              // \p{N}
)

var asciiClass = func() (t [utf8.RuneSelf]class) {
	for r := range t {
		t[r] = slowClass(rune(r))
	}
	return t
}()

func slowClass(r rune) class {
	switch {
	case unicode.IsSpace(r):
		return space
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	}
	return other
}

// classAt returns the class and width of the character at text[i:]. A byte that is no UTF-8 is `other`.
func classAt(text string, i int) (class, int) {
	if c := text[i]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, n := utf8.DecodeRuneInString(text[i:])
	return slowClass(r), n
}

// preToken returns the length in bytes of the first match of GPT-2's pattern in text, which is not empty:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// The pattern matches at every position, so consecutive matches cover a text without gaps.
func preToken(text string) int {
	if text[0] == '\'' {
		if n := contraction(text); n > 0 {
			return n
		}
	}
	start := 0
	if text[0] == ' ' && len(text) > 1 {
		start = 1
	}
	c, n := classAt(text, start)
	if c != space {
		return runEnd(text, start+n, c)
	}
	return spaceRun(text)
}

// contraction returns the length of 's|'t|'re|'ve|'m|'ll|'d at the start of text, or 0.
func contraction(text string) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case 's', 't', 'm', 'd':
		return 2
	}
	if len(text) >= 3 {
		switch text[1:3] {
		case "re", "ve", "ll":
			return 3
		}
	}
	return 0
}

// runEnd returns where the run of class c that covers text[i-1] ends.
func runEnd(text string, i int, c class) int {
	for i < len(text) {
		d, n := classAt(text, i)
		if d != c {
			return i
		}
		i += n
	}
	return i
}

// spaceRun matches \s+(?!\S)|\s+: the white space at the start of text, without its last character when
// something follows and more than one is there, so that the last can lead the next word.
func spaceRun(text string) int {
	last, i := 0, 0
	for i < len(text) {
		c, n := classAt(text, i)
		if c != space {
			if last > 0 {
				return last
			}
			return i
		}
		last, i = i, i+n
	}
	return i
}
