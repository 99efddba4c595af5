package data

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/galvani-ml/galvani/data/tokenizer"
)

// maxTrainBytes bounds the text that a tokenizer is learned from; more changes little.
const maxTrainBytes = 32 << 20

// TrainTokenizer learns a byte-level BPE from a corpus and keeps it in the cache, named by a hash of the
// text and the options. Of a corpus over 32 MiB it reads every k-th document, and at most 32 MiB.
func TrainTokenizer(ctx context.Context, c *Corpus, opts tokenizer.TrainOptions, cacheDir string) (tokenizer.Tokenizer, error) {
	content, size, err := c.digest(ctx)
	if err != nil {
		return nil, err
	}
	key := newDigest()
	key.add("bpe", "1", content, strconv.Itoa(opts.VocabSize), strconv.Itoa(opts.MinCount))
	key.add(opts.Special...)
	path, err := cachePath(cacheDir, key.sum()+".tokenizer.json")
	if err != nil {
		return nil, err
	}
	if t, err := tokenizer.LoadFile(path); err == nil {
		return t, nil
	}
	var failed error
	bpe, err := tokenizer.TrainBPE(sample(c.Documents(ctx), size, maxTrainBytes, &failed), opts)
	if err := errors.Join(failed, err); err != nil {
		return nil, fmt.Errorf("data: tokenizer for %s: %w", c.spec, err)
	}
	if err := tokenizer.Save(path, bpe); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	return bpe, nil
}

// sample yields documents spread over a corpus of size bytes, no more than limit bytes together. An error
// ends it and is left in failed.
func sample(docs iter.Seq2[string, error], size, limit int, failed *error) iter.Seq[string] {
	return func(yield func(string) bool) {
		every, i := max(1, (size+limit-1)/limit), 0
		for text, err := range docs {
			if err != nil {
				*failed = err
				return
			}
			if i++; (i-1)%every != 0 {
				continue
			}
			text = text[:min(len(text), limit)]
			limit -= len(text)
			if !yield(text) || limit == 0 {
				return
			}
		}
	}
}
