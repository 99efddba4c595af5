//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRecovery kills a worker, and finds the bits of a run in which none was
// killed: losses, parameters and moments.
func TestRecovery(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("It was the best of times, it was the worst of times. ", 60)
	if err := os.WriteFile(filepath.Join(dir, "text.txt"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	args := []string{"train", "--model", "gpt-nano", "--data", "text.txt", "--vocab", "300", "--steps", "300", "--batch", "4", "--seq", "16",
		"--dropout", "0.1", "--plan", "pp=2 micro=2", "--save-every", "50", "--sample", "0", "--json", "--out"}
	galvani(t, dir, append(args, "whole")...)
	p := start(t, dir, append(args, "killed")...)
	until(t, "a checkpoint", func() bool {
		_, err := os.Stat(filepath.Join(dir, "killed", "checkpoints", "step-00000100"))
		return err == nil
	})
	workers := p.workers(t)
	syscall.Kill(workers[1], syscall.SIGKILL)
	if err := p.wait(t, 30*time.Second); err != nil {
		t.Fatalf("%v:\n%s", err, p.errs.String())
	}
	gone(t, workers)
	last := filepath.Join("checkpoints", "step-00000300")
	for _, pattern := range []string{"model-*.safetensors", "optimizer-*.safetensors"} {
		sameFiles(t, filepath.Join(dir, "whole", last), filepath.Join(dir, "killed", last), pattern)
	}
	sameLosses(t, filepath.Join(dir, "whole", "metrics.jsonl"), filepath.Join(dir, "killed", "metrics.jsonl"))
	var result struct {
		Restarts []struct {
			Cause   string
			From    int
			Seconds float64
		}
	}
	if err := json.Unmarshal([]byte(p.out.String()), &result); err != nil {
		t.Fatal(err)
	}
	if r := result.Restarts; len(r) != 1 || r[0].From < 100 || r[0].Seconds <= 0 || !strings.Contains(r[0].Cause, "was killed by signal 9") {
		t.Errorf("restarts %+v", r)
	}
	for _, want := range []string{"failed      worker 1", "restart     1 of at most 3: new workers go on after step ", "recovered   step "} {
		if !strings.Contains(p.errs.String(), want) {
			t.Errorf("standard error does not say %q:\n%s", want, p.errs.String())
		}
	}
}
