package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEqualities finds every test that docs/equalities.md names, a test in each
// row of its first table, and the name of every test of the equalities.
func TestEqualities(t *testing.T) {
	root := filepath.Join("..", "..")
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	doc := read(filepath.Join(root, "docs", "equalities.md"))
	named := map[string]bool{}
	test := regexp.MustCompile("`\\./([\\w/]+) (Test\\w+)`")
	for _, m := range test.FindAllStringSubmatch(doc, -1) {
		named[m[2]] = true
		files, err := filepath.Glob(filepath.Join(root, m[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range files {
			found = found || strings.Contains(read(f), "\nfunc "+m[2]+"(t *testing.T)")
		}
		if !found {
			t.Errorf("package %s has no %s", m[1], m[2])
		}
	}
	_, exact, _ := strings.Cut(doc, "\n## Equal bit for bit\n")
	exact, _, _ = strings.Cut(exact, "\n## ")
	_, rows, _ := strings.Cut(exact, "|---|---|---|---|\n")
	rows, _, _ = strings.Cut(rows, "\n\n")
	for row := range strings.SplitSeq(rows, "\n") {
		if !test.MatchString(row) {
			t.Errorf("no test: %s", row)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllStringSubmatch(read(filepath.Join(root, "train", "equalities_test.go")), -1) {
		if !named[m[1]] {
			t.Errorf("docs/equalities.md does not name %s", m[1])
		}
	}
}
