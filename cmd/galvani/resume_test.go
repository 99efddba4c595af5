//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestResume interrupts a run of ten steps after each of them, and finds the
// bits of the run that was not interrupted: losses, parameters and moments.
func TestResume(t *testing.T) {
	const steps = 10
	dir := t.TempDir()
	text := strings.Repeat("It was the best of times, it was the worst of times. ", 60)
	if err := os.WriteFile(filepath.Join(dir, "text.txt"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, model := range []string{"gpt-nano", "bert-tiny"} {
		t.Run(model, func(t *testing.T) {
			// Every step draws new windows, masks and dropout.
			galvani(t, dir, "train", "--model", model, "--data", "text.txt", "--vocab", "300", "--steps", fmt.Sprint(steps), "--batch", "4", "--seq", "16",
				"--dropout", "0.1", "--warmup", "3", "--plan", "pp=2 micro=2", "--save-every", "1", "--sample", "0", "--out", model)
			for k := 1; k < steps; k++ {
				resumed := fmt.Sprintf("%s-%d", model, k)
				keep(t, filepath.Join(dir, model), filepath.Join(dir, resumed), k)
				galvani(t, dir, "train", "--resume", "--out", resumed)
				last := filepath.Join("checkpoints", fmt.Sprintf("step-%08d", steps))
				for _, pattern := range []string{"model-*.safetensors", "optimizer-*.safetensors"} {
					sameFiles(t, filepath.Join(dir, model, last), filepath.Join(dir, resumed, last), pattern)
				}
				sameLosses(t, filepath.Join(dir, model, "metrics.jsonl"), filepath.Join(dir, resumed, "metrics.jsonl"))
			}
		})
	}
}

// galvani runs the program to a good end.
func galvani(t *testing.T, dir string, args ...string) {
	t.Helper()
	p := start(t, dir, args...)
	if err := p.wait(t, time.Minute); err != nil {
		t.Fatalf("galvani %s: %v\n%s", strings.Join(args, " "), err, p.errs.String())
	}
}

// keep copies a run as it was after step k.
func keep(t *testing.T, from, to string, k int) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	checkpoints, err := os.ReadDir(filepath.Join(to, "checkpoints"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checkpoints {
		if c.Name() > fmt.Sprintf("step-%08d", k) {
			if err := os.RemoveAll(filepath.Join(to, "checkpoints", c.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func sameFiles(t *testing.T, a, b, pattern string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(a, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s in %s (%v)", pattern, a, err)
	}
	for _, file := range files {
		x, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(b, filepath.Base(file)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x, y) {
			t.Errorf("%s of %s differs from that of %s", filepath.Base(file), b, a)
		}
	}
}

// sameLosses compares two metrics files in all that does not depend on time.
func sameLosses(t *testing.T, a, b string) {
	t.Helper()
	read := func(path string) []string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(string(text)) {
			timeless, _, _ := strings.Cut(line, `,"seconds"`)
			lines = append(lines, timeless)
		}
		return lines
	}
	x, y := read(a), read(b)
	if len(x) != len(y) {
		t.Fatalf("%s has %d steps, %s %d", a, len(x), b, len(y))
	}
	for i := range x {
		if x[i] != y[i] {
			t.Errorf("%s: %s\n%s: %s", a, x[i], b, y[i])
		}
	}
}
