package data

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// GoStd is the --data value that names the source of the Go standard library.
const GoStd = "go-std"

// Corpus is a list of text documents in a fixed order.
type Corpus struct {
	spec  string
	paths []string
}

// OpenCorpus finds the documents that spec names: one text file, the text files of a directory and those
// below it in the order of their paths, or [GoStd]. Hidden files and directories, and files that are not
// text, are skipped in a directory.
func OpenCorpus(ctx context.Context, spec string) (*Corpus, error) {
	if spec == GoStd {
		return goStd(ctx)
	}
	info, err := os.Stat(spec)
	if err != nil {
		return nil, fmt.Errorf("data: %w (want a text file, a directory, a .bin of tokens, or %s)", err, GoStd)
	}
	switch {
	case info.IsDir():
		return textFiles(ctx, spec)
	case isTokenPath(spec):
		return nil, fmt.Errorf("data: %s: holds tokens, not text", spec)
	}
	if text, err := isText(spec); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	} else if !text {
		return nil, fmt.Errorf("data: %s: not text, for it has zero bytes; a file of uint16 tokens must end in .bin", spec)
	}
	return &Corpus{spec: spec, paths: []string{spec}}, nil
}

// isTokenPath says whether a file holds tokens, by its name.
func isTokenPath(path string) bool {
	ext := filepath.Ext(path)
	return ext == ".bin" || ext == tokenExt
}

func textFiles(ctx context.Context, dir string) (*Corpus, error) {
	paths, err := walk(ctx, dir, func(path string, d fs.DirEntry) (bool, error) {
		if strings.HasPrefix(d.Name(), ".") {
			return false, nil
		}
		if d.IsDir() {
			return true, nil
		}
		info, err := os.Stat(path) // follows a link to a file
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 || isTokenPath(path) {
			return false, ignoreMissing(err)
		}
		return isText(path)
	})
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("data: %s: no text files in this directory (hidden and binary files are skipped)", dir)
	}
	return &Corpus{spec: dir, paths: paths}, nil
}

// walk returns the files below dir that keep accepts, sorted by path. keep also says which directories to
// enter.
func walk(ctx context.Context, dir string, keep func(path string, d fs.DirEntry) (bool, error)) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if path == dir {
			return nil
		}
		ok, err := keep(path, d)
		switch {
		case err != nil:
			return err
		case !ok && d.IsDir():
			return fs.SkipDir
		case ok && !d.IsDir():
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	slices.Sort(paths)
	return paths, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// isText looks for a zero byte at the start of a file, as git does.
func isText(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	start, err := io.ReadAll(io.LimitReader(f, 8000))
	return err == nil && bytes.IndexByte(start, 0) < 0, err
}

// Len is the number of documents.
func (c *Corpus) Len() int { return len(c.paths) }

// Documents reads the documents in order. It stops after the first error.
func (c *Corpus) Documents(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, path := range c.paths {
			text, err := os.ReadFile(path)
			if err := errors.Join(err, ctx.Err()); err != nil {
				yield("", fmt.Errorf("data: %w", err))
				return
			}
			if !yield(string(text), nil) {
				return
			}
		}
	}
}

// digest returns a SHA-256 of the documents and the number of bytes in them.
func (c *Corpus) digest(ctx context.Context) (string, int, error) {
	h, n := newDigest(), 0
	for text, err := range c.Documents(ctx) {
		if err != nil {
			return "", 0, err
		}
		h.add(text)
		n += len(text)
	}
	return h.sum(), n, nil
}

// digest hashes strings so that their borders count.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) add(texts ...string) {
	for _, text := range texts {
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(text)))
		d.Write(size[:]) // a hash takes every write
		d.Write([]byte(text))
	}
}

func (d digest) sum() string { return hex.EncodeToString(d.Sum(nil)) }
