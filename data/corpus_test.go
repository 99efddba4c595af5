package data

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func documents(t *testing.T, c *Corpus) []string {
	t.Helper()
	var texts []string
	for text, err := range c.Documents(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	return texts
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"b.txt": "B", "a/z.txt": "AZ", "a.txt": "A", ".hidden": "no", ".git/x": "no", "empty": "",
		"binary": "a\x00b", "old.bin": "no", "old.tokens": "no", "a/ü.md": "AU",
	} {
		writeFile(t, filepath.Join(dir, name), []byte(text))
	}
	if err := os.Symlink("b.txt", filepath.Join(dir, "c.txt")); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "d.txt")); err != nil {
		t.Fatal(err)
	}
	c, err := OpenCorpus(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := documents(t, c), []string{"A", "AZ", "AU", "B", "B"}; !slices.Equal(got, want) {
		t.Errorf("documents %q, want %q", got, want)
	}
	if c.Len() != 5 {
		t.Errorf("Len() = %d", c.Len())
	}
}

func TestCorpusErrors(t *testing.T) {
	dir := t.TempDir()
	bin := writeFile(t, filepath.Join(dir, "x.bin"), nil)
	zeros := writeFile(t, filepath.Join(dir, "zeros"), []byte{1, 0})
	for spec, want := range map[string]string{
		filepath.Join(dir, "none"): "want a text file, a directory",
		bin:                        "holds tokens, not text",
		zeros:                      "must end in .bin",
		dir:                        "no text files in this directory",
	} {
		if _, err := OpenCorpus(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error = %v, want %q", spec, err, want)
		}
	}
	text := writeFile(t, filepath.Join(dir, "a.txt"), []byte("text"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenCorpus(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled walk: error = %v", err)
	}
	c := must(OpenCorpus(t.Context(), text))
	if err := os.Remove(text); err != nil {
		t.Fatal(err)
	}
	if _, err := Tokenize(t.Context(), c, bytesBPE(), dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("removed file: error = %v", err)
	}
}

func TestGoStd(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"src/fmt/print.go": "package fmt", "src/fmt/print_test.go": "package fmt_test", "src/fmt/doc.txt": "no",
		"src/fmt/testdata/x.go": "no", "src/vendor/y.go": "no", "src/cmd/go/main.go": "no", "src/bytes/a.go": "package bytes",
		"src/internal/cmd/a.go": "package cmd", "src/_skip/a.go": "no",
	} {
		writeFile(t, filepath.Join(root, name), []byte(text))
	}
	t.Setenv("PATH", "") // no go command
	t.Setenv("GOROOT", root)
	c, err := OpenCorpus(t.Context(), GoStd)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"package bytes", "package cmd", "package fmt", "package fmt_test"}
	got := documents(t, c)
	if again := documents(t, must(OpenCorpus(t.Context(), GoStd))); !slices.Equal(got, again) {
		t.Errorf("documents %q, then %q", got, again)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("documents %q, want %q", got, want)
	}

	t.Setenv("GOROOT", t.TempDir())
	if _, err := OpenCorpus(t.Context(), GoStd); err == nil {
		t.Error("no error without source")
	}
	t.Setenv("GOROOT", "")
	_, err = OpenCorpus(t.Context(), GoStd)
	if err == nil || !strings.Contains(err.Error(), "install Go, set GOROOT, or give another --data") {
		t.Errorf("error = %v", err)
	}
}

func TestGoStdOfThisMachine(t *testing.T) {
	c, err := OpenCorpus(t.Context(), GoStd)
	if err != nil {
		t.Skip(err)
	}
	if c.Len() < 1000 {
		t.Errorf("only %d files", c.Len())
	}
}

func TestDigestKeepsBorders(t *testing.T) {
	a, b := newDigest(), newDigest()
	a.add("ab", "c")
	b.add("a", "bc")
	if a.sum() == b.sum() {
		t.Error("documents that join to the same text have the same digest")
	}
}
