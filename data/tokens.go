package data

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Ignored is the target of a position that takes no part in the loss.
const Ignored = -100

// width is the form of one element of a file, always little-endian.
type width int

const (
	uint16s width = 2
	uint32s width = 4
	int16s  width = -2 // labels
)

func (w width) bytes() int { return max(int(w), -int(w)) }

// Tokens is a memory-mapped file of token ids. Reading is safe from several goroutines; nothing may be
// read after Close.
type Tokens struct {
	path  string
	data  []byte // the elements
	width width
	count int
	check func() error
	close func() error
}

// OpenTokens maps a file of tokens: a ".bin" of little-endian uint16, or a token file that [Tokenize]
// wrote. A file that was cut short gives a [*CorruptError].
func OpenTokens(path string) (*Tokens, error) {
	if filepath.Ext(path) == ".bin" {
		return openRaw(path, uint16s)
	}
	return openMapped(path, readTokenFile)
}

// openRaw maps a file without a header.
func openRaw(path string, w width) (*Tokens, error) {
	return openMapped(path, func(t *Tokens) error {
		n := len(t.data)
		if size := w.bytes(); n%size != 0 {
			return &CorruptError{path, int64(n + size - n%size), int64(n), "the last element is cut short"}
		}
		t.width, t.count = w, n/w.bytes()
		return nil
	})
}

// openMapped maps path and lets parse find the elements.
func openMapped(path string, parse func(*Tokens) error) (*Tokens, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("data: %s: not a regular file of tokens", path)
	}
	b, unmap, err := mapFile(f, int(info.Size()))
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", path, err)
	}
	t := &Tokens{path: path, data: b, close: sync.OnceValue(unmap), check: func() error { return nil }}
	if err := parse(t); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Path is the file's path.
func (t *Tokens) Path() string { return t.path }

// Len is the number of tokens N.
func (t *Tokens) Len() int { return t.count }

// Close releases the memory map. Later calls do nothing.
func (t *Tokens) Close() error { return t.close() }

// Copy fills dst with the tokens from position from on; from + len(dst) is at most Len.
func (t *Tokens) Copy(dst []int32, from int) {
	size := t.width.bytes()
	src := t.data[from*size : (from+len(dst))*size]
	switch t.width {
	case uint16s:
		for i := range dst {
			dst[i] = int32(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case int16s:
		for i := range dst {
			dst[i] = int32(int16(binary.LittleEndian.Uint16(src[2*i:])))
		}
	case uint32s:
		for i := range dst {
			dst[i] = int32(binary.LittleEndian.Uint32(src[4*i:]))
		}
	}
}

// Validate checks every id against a model's vocabulary; the error is an [*IDError]. Labels may be
// [Ignored] too.
func (t *Tokens) Validate(vocabSize int) error {
	position := 0
	for ids := range t.chunks(0, t.count) {
		for i, id := range ids {
			if uint32(id) >= uint32(vocabSize) && !(t.width == int16s && id == Ignored) {
				return &IDError{t.path, position + i, int(id), vocabSize}
			}
		}
		position += len(ids)
	}
	return nil
}

// chunks yields the tokens in [from, to) in pieces that are only valid until the next.
func (t *Tokens) chunks(from, to int) func(yield func([]int32) bool) {
	return func(yield func([]int32) bool) {
		buf := make([]int32, 4096)
		for from < to {
			n := min(len(buf), to-from)
			t.Copy(buf[:n], from)
			if !yield(buf[:n]) {
				return
			}
			from += n
		}
	}
}
