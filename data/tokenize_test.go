package data

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/data/tokenizer"
)

// sourceDir is a corpus of a few documents, one of them long enough to be cut.
func sourceDir(t *testing.T) *Corpus {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "1"), []byte("first document\n"))
	long := strings.Repeat("a line of some words\n\n  and one more\n", pieceSize/16)
	writeFile(t, filepath.Join(dir, "2"), []byte(long))
	writeFile(t, filepath.Join(dir, "3"), []byte("third"))
	return must(OpenCorpus(t.Context(), dir))
}

func TestTokenize(t *testing.T) {
	c, cache := sourceDir(t), t.TempDir()
	bpe, err := TrainTokenizer(t.Context(), c, tokenizer.TrainOptions{VocabSize: 300, Special: []string{"<|endoftext|>"}}, cache)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := Tokenize(t.Context(), c, bpe, cache)
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Close()
	var want []int32
	for i, text := range documents(t, c) {
		if i > 0 {
			want = append(want, 0)
		}
		for _, id := range bpe.Encode(text) {
			want = append(want, int32(id))
		}
	}
	if !slices.Equal(all(tokens), want) {
		t.Error("ids differ from those of the documents one by one")
	}

	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	again := must(Tokenize(t.Context(), c, bpe, t.TempDir()))
	defer again.Close()
	if !slices.Equal(all(again), want) {
		t.Error("ids depend on the number of cores")
	}
}

func TestCacheIsUsedAndRepaired(t *testing.T) {
	c, cache, tok := sourceDir(t), t.TempDir(), bytesBPE("<|endoftext|>")
	first := must(Tokenize(t.Context(), c, tok, cache))
	want := all(first)
	info := must(os.Stat(first.Path()))
	again := must(Tokenize(t.Context(), c, tok, cache))
	if !os.SameFile(info, must(os.Stat(again.Path()))) {
		t.Error("the text was tokenized twice")
	}
	if other := must(Tokenize(t.Context(), c, bytesBPE(), cache)); other.Path() == first.Path() {
		t.Error("two tokenizers share a file")
	} else {
		other.Close()
	}
	first.Close()
	again.Close()
	for name, damage := range map[string]func([]byte) []byte{
		"cut short": func(b []byte) []byte { return b[:len(b)-1] },
		"flipped":   func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"empty":     func([]byte) []byte { return nil },
	} {
		writeFile(t, first.Path(), damage(must(os.ReadFile(first.Path()))))
		repaired, err := Tokenize(t.Context(), c, tok, cache)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(all(repaired), want) {
			t.Errorf("%s: the damaged file was used", name)
		}
		repaired.Close()
	}
}

func TestTrainedTokenizerIsCached(t *testing.T) {
	c, cache := sourceDir(t), t.TempDir()
	opts := tokenizer.TrainOptions{VocabSize: 270, Special: []string{"[PAD]"}}
	a := must(TrainTokenizer(t.Context(), c, opts, cache))
	files := must(filepath.Glob(filepath.Join(cache, "*.tokenizer.json")))
	if len(files) != 1 {
		t.Fatalf("cache holds %v", files)
	}
	info := must(os.Stat(files[0]))
	b := must(TrainTokenizer(t.Context(), c, opts, cache))
	if must(tokenizer.Fingerprint(a)) != must(tokenizer.Fingerprint(b)) || !os.SameFile(info, must(os.Stat(files[0]))) {
		t.Error("the cached tokenizer is not used or differs")
	}
	writeFile(t, files[0], []byte("{"))
	if got := must(TrainTokenizer(t.Context(), c, opts, cache)); got.VocabSize() != a.VocabSize() {
		t.Error("a damaged tokenizer is not trained anew")
	}
	opts.VocabSize = 10
	if _, err := TrainTokenizer(t.Context(), c, opts, cache); err == nil {
		t.Error("no error for a vocabulary below 256")
	}
}

func TestSample(t *testing.T) {
	docs := func(yield func(string, error) bool) {
		for _, text := range []string{"aaaa", "bbbb", "cccc", "dddd", "eeee"} {
			if !yield(text, nil) {
				return
			}
		}
	}
	var failed error
	for limit, want := range map[int][]string{20: {"aaaa", "bbbb", "cccc", "dddd", "eeee"}, 10: {"aaaa", "cccc", "ee"}, 3: {"aaa"}} {
		if got := slices.Collect(sample(docs, 20, limit, &failed)); !slices.Equal(got, want) {
			t.Errorf("limit %d: %q, want %q", limit, got, want)
		}
	}
	broken := func(yield func(string, error) bool) { yield("", os.ErrClosed) }
	if got := slices.Collect(sample(broken, 1, 1, &failed)); len(got) > 0 || !errors.Is(failed, os.ErrClosed) {
		t.Errorf("error = %v", failed)
	}
}

func TestTokenizeErrors(t *testing.T) {
	c := sourceDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Tokenize(ctx, c, bytesBPE(), t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error = %v", err)
	}
	file := writeFile(t, filepath.Join(t.TempDir(), "f"), nil)
	if _, err := Tokenize(t.Context(), c, bytesBPE(), filepath.Join(file, "dir")); err == nil {
		t.Error("no error for a cache inside a file")
	}
	if _, err := Tokenize(t.Context(), c, anonymous{}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "has no WriteTo") {
		t.Errorf("a tokenizer without a fingerprint: error = %v", err)
	}
	path := filepath.Join(t.TempDir(), "x.tokens")
	if err := writeTokens(t.Context(), path, c, bytesBPE(), "another digest"); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("changed text: error = %v", err)
	}
	t.Setenv("HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	if _, err := cachePath("", "x"); runtime.GOOS == "linux" && (err == nil || !strings.Contains(err.Error(), "set HOME")) {
		t.Errorf("no home: error = %v", err)
	}
}

// anonymous is a tokenizer that cannot be written.
type anonymous struct{ tokenizer.Tokenizer }

func TestWideIDs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.tokens")
	f := must(os.Create(path))
	w := must(newTokenWriter(f, 1<<16+1))
	want := []int{0, 65535, 65536, 1 << 20}
	if err := errors.Join(w.write(want), w.close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	tokens := must(openVerified(path))
	defer tokens.Close()
	if got := all(tokens); !slices.Equal(got, []int32{0, 65535, 65536, 1 << 20}) {
		t.Errorf("ids %v", got)
	}
	var bad *IDError
	if err := tokens.Validate(1 << 20); !errors.As(err, &bad) || *bad != (IDError{path, 3, 1 << 20, 1 << 20}) {
		t.Errorf("error = %v", err)
	}
}
