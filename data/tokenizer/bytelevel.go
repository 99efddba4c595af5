package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Vocabulary files name a byte-level token with one printable character a byte: printable Latin-1 stands
// for itself, the other 68 bytes for the characters from U+0100 on, in order (so a space is "Ġ").
// Source: bytes_to_unicode in GPT-2's encoder.py.
var (
	runeOfByte [256]rune
	byteOfRune = map[rune]byte{}
)

func init() {
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if !printableLatin1(r) {
			r = next
			next++
		}
		runeOfByte[b] = r
		byteOfRune[r] = byte(b)
	}
}

func printableLatin1(r rune) bool {
	return '!' <= r && r <= '~' || 0xA1 <= r && r <= 0xAC || 0xAE <= r && r <= 0xFF
}

// nameOfBytes writes raw bytes as a vocabulary name.
func nameOfBytes(raw string) string {
	var b strings.Builder
	for i := range len(raw) {
		b.WriteRune(runeOfByte[raw[i]])
	}
	return b.String()
}

// bytesOfName is the inverse of nameOfBytes. A name with a character outside the alphabet, as an added
// token may have, stands for its own UTF-8 bytes.
func bytesOfName(name string) string {
	raw := make([]byte, 0, len(name))
	for i, r := range name {
		b, ok := byteOfRune[r]
		if !ok || r == utf8.RuneError && !strings.HasPrefix(name[i:], "\uFFFD") {
			return name
		}
		raw = append(raw, b)
	}
	return string(raw)
}
