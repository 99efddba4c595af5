package local_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	_ "pgregory.net/rapid" // of which the example's tests need a copy in the module cache
)

// TestCustomOperation tests docs/examples/customop, a module of its own with an
// operation of its own, from a copy that takes this module as it is here. It
// needs no module that this one does not, and no network.
func TestCustomOperation(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "docs", "examples", "customop"))); err != nil {
		t.Fatal(err)
	}
	// A dependency of a new version here is one of the example's, too.
	addSums(t, filepath.Join(dir, "go.sum"), filepath.Join(root, "go.sum"))
	for _, args := range [][]string{
		{"mod", "edit", "-replace=" + module + "=" + root},
		{"vet", "./..."},
		{"test", "./..."},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off", "GOTOOLCHAIN=local", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %v in docs/examples/customop: %v\n%s", args, err, out)
		}
	}
}

const module = "github.com/galvani-ml/galvani"

// addSums adds to a go.sum what another has.
func addSums(t *testing.T, path, from string) {
	t.Helper()
	sums, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	more, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(more) {
		if !bytes.Contains(sums, line) {
			sums = append(sums, line...)
		}
	}
	if err := os.WriteFile(path, sums, 0o666); err != nil {
		t.Fatal(err)
	}
}
