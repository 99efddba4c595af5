package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/galvani-ml/galvani/data/tokenizer"
	"github.com/galvani-ml/galvani/internal/atomicfile"
)

// pieceSize is about how many bytes of text one goroutine encodes at a time.
const pieceSize = 1 << 19

// Tokenize encodes a corpus into a token file in the cache and opens it. The file is named by a hash of
// the text and the tokenizer, so the work is done once; a damaged file is made anew. Documents are
// separated by the tokenizer's end-of-text token (<|endoftext|>, [SEP] or </s>), where it has one. The ids
// do not depend on the number of cores. An empty cacheDir means the user's cache directory.
func Tokenize(ctx context.Context, c *Corpus, t tokenizer.Tokenizer, cacheDir string) (*Tokens, error) {
	fingerprint, err := tokenizer.Fingerprint(t)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	content, _, err := c.digest(ctx)
	if err != nil {
		return nil, err
	}
	key := newDigest()
	key.add("tokens", strconv.Itoa(tokenVersion), content, fingerprint)
	path, err := cachePath(cacheDir, key.sum()+tokenExt)
	if err != nil {
		return nil, err
	}
	if cached, err := openVerified(path); err == nil {
		return cached, nil
	}
	if err := writeTokens(ctx, path, c, t, content); err != nil {
		return nil, fmt.Errorf("data: tokenize %s: %w", c.spec, err)
	}
	return openVerified(path)
}

func openVerified(path string) (*Tokens, error) {
	t, err := OpenTokens(path)
	if err != nil {
		return nil, err
	}
	if err := t.Verify(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// cachePath returns the path of a file in the cache and makes the directory.
func cachePath(dir, name string) (string, error) {
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("data: no cache directory: %w: set HOME or XDG_CACHE_HOME, or name a directory", err)
		}
		dir = filepath.Join(base, "galvani")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("data: cache: %w", err)
	}
	return filepath.Join(dir, name), nil
}

// writeTokens encodes the corpus to path. content is the digest of the text that the cache key was made of.
func writeTokens(ctx context.Context, path string, c *Corpus, t tokenizer.Tokenizer, content string) error {
	return atomicfile.Write(path, func(f io.WriteSeeker) error {
		w, err := newTokenWriter(f, t.VocabSize())
		if err != nil {
			return err
		}
		seen := newDigest()
		if err := encodeAll(ctx, cut(c.Documents(ctx), t, seen), t, w.write); err != nil {
			return err
		}
		if seen.sum() != content {
			return errors.New("the text changed while it was read: run again")
		}
		return w.close()
	})
}

// piece is a stretch of a document; after a document's end comes a separator when more follows.
type piece struct {
	text      string
	separator bool // goes before the text
}

// cut divides documents where that leaves the ids as they are.
func cut(docs iter.Seq2[string, error], t tokenizer.Tokenizer, seen digest) iter.Seq2[piece, error] {
	return func(yield func(piece, error) bool) {
		first := true
		for text, err := range docs {
			if err != nil {
				yield(piece{}, err)
				return
			}
			seen.add(text)
			p := piece{separator: !first}
			first = false
			for rest := text; rest != "" || p.separator; {
				n := len(rest)
				if cutter, ok := t.(tokenizer.Cutter); ok && n > pieceSize {
					n = cutter.Cut(rest, pieceSize)
				}
				p.text, rest = rest[:n], rest[n:]
				if !yield(p, nil) {
					return
				}
				p.separator = false
			}
		}
	}
}

// encodeAll encodes pieces on all cores and hands the ids to write in the order of the pieces.
func encodeAll(ctx context.Context, pieces iter.Seq2[piece, error], t tokenizer.Tokenizer, write func([]int) error) error {
	end, hasEnd := endOfText(t)
	workers := runtime.GOMAXPROCS(0)
	group, ctx := errgroup.WithContext(ctx)
	queue := make(chan chan []int, 2*workers) // bounds the text in memory
	slots := make(chan struct{}, workers)
	group.Go(func() error {
		defer close(queue)
		for p, err := range pieces {
			if err != nil {
				return err
			}
			result := make(chan []int, 1)
			select {
			case queue <- result:
			case <-ctx.Done():
				return ctx.Err()
			}
			slots <- struct{}{}
			group.Go(func() error {
				defer func() { <-slots }()
				ids := t.Encode(p.text)
				if p.separator && hasEnd {
					ids = append([]int{end}, ids...)
				}
				result <- ids
				return nil
			})
		}
		return nil
	})
	group.Go(func() error {
		for result := range queue {
			select {
			case ids := <-result:
				if err := write(ids); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return group.Wait()
}

func endOfText(t tokenizer.Tokenizer) (int, bool) {
	for _, name := range []string{"<|endoftext|>", "[SEP]", "</s>"} {
		if id, ok := t.ID(name); ok {
			return id, true
		}
	}
	return 0, false
}
