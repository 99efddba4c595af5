//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	for name, keep := range map[string][]string{"checkpoint": {"--save-every", "50"}, "snapshot": {"--snapshot-every", "7"}} {
		for _, plan := range []string{"pp=2 micro=2", "dp=2 zero=3", "tp=3"} {
			t.Run(name+" "+plan, func(t *testing.T) { recovers(t, dir, plan, keep) })
		}
	}
}

// recovers trains under a plan, once undisturbed and once with a worker killed.
func recovers(t *testing.T, dir, plan string, keep []string) {
	args := slices.Concat([]string{"train", "--model", "gpt-nano", "--data", "text.txt", "--vocab", "300", "--steps", "200", "--batch", "4", "--seq", "16",
		"--dropout", "0.1", "--plan", plan, "--sample", "0", "--json"}, keep, []string{"--out"})
	sub := strings.ReplaceAll(t.Name(), "/", "-")
	whole, killed := sub+"-whole", sub+"-killed"
	galvani(t, dir, append(args, whole)...)
	p := start(t, dir, append(args, killed)...)
	until(t, "step 60", func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, killed, "metrics.jsonl"))
		return bytes.Count(text, []byte("\n")) >= 60
	})
	workers := p.workers(t)
	syscall.Kill(workers[1], syscall.SIGKILL)
	if err := p.wait(t, 30*time.Second); err != nil {
		t.Fatalf("%v:\n%s", err, p.errs.String())
	}
	gone(t, workers)
	last := filepath.Join("checkpoints", "step-00000200")
	for _, pattern := range []string{"model*.safetensors", "optimizer*.safetensors"} {
		sameFiles(t, filepath.Join(dir, whole, last), filepath.Join(dir, killed, last), pattern)
	}
	sameLosses(t, filepath.Join(dir, whole, "metrics.jsonl"), filepath.Join(dir, killed, "metrics.jsonl"))
	var result struct {
		Restarts []struct {
			Cause, Source string
			From          int
			Lost          int `json:"lost_steps"`
			Seconds       float64
		}
	}
	if err := json.Unmarshal([]byte(p.out.String()), &result); err != nil {
		t.Fatal(err)
	}
	if r := result.Restarts; len(r) != 1 || r[0].From < 45 || r[0].Seconds <= 0 || !strings.Contains(r[0].Cause, "was killed by signal 9") {
		t.Errorf("restarts %+v", r)
	} else if r[0].Source == "the snapshot in memory" && r[0].Lost > 7 {
		t.Errorf("%d steps are lost, with a snapshot every 7", r[0].Lost)
	}
	for _, want := range []string{"failed      worker 1", "restart     1 of at most 3: new workers go on after step ", "recovered   step "} {
		if !strings.Contains(p.errs.String(), want) {
			t.Errorf("standard error does not say %q:\n%s", want, p.errs.String())
		}
	}
	t.Logf("%+v", result.Restarts)
}

// TestRecoveryOfServer kills an external NATS server twice: the run goes on when
// the server is back, and ends at Ctrl-C while it waits.
func TestRecoveryOfServer(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nats-server")
	}
	server, url := natsServer(t)
	p, _ := endless(t, 2, "--snapshot-every", "1", "--nats", url)
	workers := p.workers(t)
	server.Process.Kill()
	until(t, "the failure", func() bool { return strings.Contains(p.errs.String(), "\nrestart ") })
	gone(t, workers)
	again := exec.Command(server.Path, server.Args[1:]...)
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Process.Kill(); again.Wait() })
	until(t, "the recovery", func() bool { return strings.Contains(p.errs.String(), "\nrecovered ") })
	workers = p.workers(t)
	again.Process.Kill()
	until(t, "the second failure", func() bool { return strings.Contains(p.errs.String(), "\nrestart     2 ") })
	p.cmd.Process.Signal(os.Interrupt)
	p.failsWithin(t, 5*time.Second, workers, "galvani: interrupted")
}

// TestNoRecovery has a failure that would come again.
func TestNoRecovery(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("It was the best of times, it was the worst of times. ", 60)
	if err := os.WriteFile(filepath.Join(dir, "text.txt"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	p := start(t, dir, "train", "--model", "gpt-nano", "--data", "text.txt", "--vocab", "300", "--steps", "60", "--batch", "4", "--seq", "16",
		"--plan", "dp=2", "--lr", "1e30", "--warmup", "0", "--sample", "0", "--snapshot-every", "1", "--out", "run")
	p.failsWithin(t, 20*time.Second, nil, "is not finite")
	if strings.Contains(p.errs.String(), "\nrestart ") {
		t.Errorf("it was started anew:\n%s", p.errs.String())
	}
}

// TestDiskFull fills the run's directory: the run ends, and what was saved before
// is whole.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("It was the best of times, it was the worst of times. ", 60)
	if err := os.WriteFile(filepath.Join(dir, "text.txt"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "run")
	if err := os.Mkdir(out, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", out, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("mounting a small file system needs to be root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(out, syscall.MNT_DETACH) })
	p := start(t, dir, "train", "--model", "gpt-nano", "--data", "text.txt", "--vocab", "300", "--steps", "1000", "--batch", "4", "--seq", "16",
		"--plan", "dp=2", "--save-every", "10", "--sample", "0", "--out", "run")
	p.failsWithin(t, 30*time.Second, nil, "no space left on device")
	if strings.Contains(p.errs.String(), "\nrestart ") {
		t.Errorf("it was started anew:\n%s", p.errs.String())
	}
	galvani(t, dir, "eval", "--init", "run", "--data", "text.txt", "--seq", "16", "--batch", "4")
}
