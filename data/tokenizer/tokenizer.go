package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/galvani-ml/galvani/internal/atomicfile"
)

// Tokenizer maps text to token ids and back. Its methods may be called from several goroutines.
//
// What only some tokenizers can do is in extra interfaces: [Cutter], [TokenAppender], and [io.WriterTo],
// which writes the tokenizer as tokenizer.json.
type Tokenizer interface {
	// Encode returns the ids of text. It has no error: what the vocabulary lacks becomes the unknown token.
	Encode(text string) []int
	// Decode returns the text of ids. Ids outside the vocabulary are skipped.
	Decode(ids []int) string
	// VocabSize is one more than the largest id.
	VocabSize() int
	// ID looks up a token by its name in the vocabulary, as in ID("<|endoftext|>").
	ID(token string) (int, bool)
}

// Cutter is a Tokenizer that knows where a text can be cut, so that one long text is encoded in parallel.
type Cutter interface {
	// Cut returns the first position p >= near with
	// Encode(text) = Encode(text[:p]) + Encode(text[p:]), or len(text) when there is none.
	Cut(text string, near int) int
}

// TokenAppender is a Tokenizer that can decode one token at a time.
type TokenAppender interface {
	// AppendToken appends the bytes that id adds to a text; first says that the text is empty so far.
	AppendToken(dst []byte, id int, first bool) []byte
}

// SpecialLister is a Tokenizer that can list its special tokens.
type SpecialLister interface {
	// SpecialIDs returns the ids of the special tokens, such as [CLS], in rising order.
	SpecialIDs() []int
}

// Fingerprint returns a SHA-256 in hex that is equal for tokenizers that give the same ids. The tokenizer
// must be an [io.WriterTo], as those of this package are.
func Fingerprint(t Tokenizer) (string, error) {
	w, ok := t.(io.WriterTo)
	if !ok {
		return "", fmt.Errorf("tokenizer: fingerprint: %T has no WriteTo", t)
	}
	h := sha256.New()
	if _, err := w.WriteTo(h); err != nil {
		return "", fmt.Errorf("tokenizer: fingerprint: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Save writes t to path in Hugging Face's tokenizer.json format, atomically. The tokenizer must be an
// [io.WriterTo], as those of this package are.
func Save(path string, t Tokenizer) error {
	src, ok := t.(io.WriterTo)
	if !ok {
		return fmt.Errorf("tokenizer: save %s: %T has no WriteTo", path, t)
	}
	err := atomicfile.WriteStream(path, func(w io.Writer) error {
		_, err := src.WriteTo(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("tokenizer: save: %w", err)
	}
	return nil
}

// Stream decodes ids as a model generates them. A character whose bytes are spread over several tokens
// comes out when it is complete.
type Stream struct {
	tokenizer Tokenizer
	pending   []byte
	started   bool
}

// NewStream returns a Stream at the start of a text.
func NewStream(t Tokenizer) *Stream { return &Stream{tokenizer: t} }

// Push adds one id and returns the text that is now complete, which may be empty.
func (s *Stream) Push(id int) string {
	if a, ok := s.tokenizer.(TokenAppender); ok {
		s.pending = a.AppendToken(s.pending, id, !s.started)
	} else {
		s.pending = append(s.pending, s.tokenizer.Decode([]int{id})...)
	}
	s.started = true
	n := completeUTF8(s.pending)
	text := string(s.pending[:n])
	s.pending = append(s.pending[:0], s.pending[n:]...)
	return text
}

// Flush returns the bytes held back, which are no complete character.
func (s *Stream) Flush() string {
	text := string(s.pending)
	s.pending = s.pending[:0]
	return text
}

// completeUTF8 returns the length of b without a character at its end that more bytes could complete.
func completeUTF8(b []byte) int {
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax+1); i-- {
		if utf8.RuneStart(b[i]) {
			if utf8.FullRune(b[i:]) {
				return len(b)
			}
			return i
		}
	}
	return len(b)
}
