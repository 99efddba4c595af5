//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// outageRun starts a run of 200 steps, beside one that is left alone, and waits for
// step 60 of it.
func outageRun(t *testing.T, dir, out string, more ...string) (p *program, whole, metrics string) {
	t.Helper()
	text := strings.Repeat("It was the best of times, it was the worst of times. ", 60)
	if err := os.WriteFile(filepath.Join(dir, "text.txt"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	args := []string{"train", "--model", "gpt-nano", "--data", "text.txt", "--vocab", "300", "--steps", "200", "--batch", "4", "--seq", "16",
		"--plan", "dp=2", "--save-every", "25", "--sample", "0", "--json", "--out"}
	galvani(t, dir, append(args, "whole")...)
	metrics = filepath.Join(dir, "metrics.jsonl")
	p = start(t, dir, append(append(args, out, "--metrics", metrics), more...)...)
	until(t, "step 60", func() bool { return stepsIn(metrics) >= 60 })
	return p, filepath.Join(dir, "whole"), metrics
}

func stepsIn(metrics string) int {
	text, _ := os.ReadFile(metrics)
	return bytes.Count(text, []byte("\n"))
}

// sameEnd compares the last checkpoints of two runs of 200 steps.
func sameEnd(t *testing.T, whole, out string) {
	t.Helper()
	last := filepath.Join("checkpoints", "step-00000200")
	for _, pattern := range []string{"model*.safetensors", "optimizer*.safetensors"} {
		sameFiles(t, filepath.Join(whole, last), filepath.Join(out, last), pattern)
	}
}

// TestDiskFullInCheckpoint leaves no room for the next checkpoint: the run ends and
// says why, and goes on from the checkpoint before when there is room.
func TestDiskFullInCheckpoint(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "run")
	if err := os.Mkdir(out, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", out, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("mounting a small file system needs to be root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(out, syscall.MNT_DETACH) })
	p, whole, metrics := outageRun(t, dir, out)
	workers := p.workers(t)
	filler := filepath.Join(out, "filler")
	if err := os.WriteFile(filler, make([]byte, 80<<20), 0o666); err == nil {
		t.Fatal("the disk is not full")
	}
	full := time.Now()
	p.failsWithin(t, 20*time.Second, workers, "no space left on device", "checkpoint of step")
	ended, reached := time.Since(full), stepsIn(metrics)
	if strings.Contains(p.errs.String(), "\nrestart ") {
		t.Errorf("it was started anew:\n%s", p.errs.String())
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir, "train", "--resume", "--out", out, "--json")
	began := time.Now()
	if err := again.wait(t, 30*time.Second); err != nil {
		t.Fatalf("%v:\n%s", err, again.errs.String())
	}
	var from int
	if at := strings.Index(again.errs.String(), "after step "); at >= 0 {
		fmt.Sscanf(again.errs.String()[at:], "after step %d,", &from)
	}
	sameEnd(t, whole, out)
	t.Logf("ended %v after the disk was full, at step %d; resumed from step %d, and done %v after that",
		ended.Round(time.Millisecond), reached, from, time.Since(began).Round(time.Millisecond))
}

// TestPartition has the NATS server in a network namespace of its own, and cuts the
// link to it for a while.
func TestPartition(t *testing.T) {
	ip := func(args ...string) error {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	name := fmt.Sprintf("gv%d", os.Getpid())
	if err := ip("netns", "add", name); err != nil {
		t.Skipf("making a network namespace needs to be root, and iproute2: %v", err)
	}
	t.Cleanup(func() {
		if err := ip("netns", "del", name); err != nil { // and the link with it
			t.Error(err)
		}
	})
	net := fmt.Sprintf("10.213.%d.", os.Getpid()%250)
	for _, args := range [][]string{
		{"link", "add", name + "a", "type", "veth", "peer", "name", name + "b", "netns", name},
		{"addr", "add", net + "1/24", "dev", name + "a"},
		{"link", "set", name + "a", "up"},
		{"-n", name, "addr", "add", net + "2/24", "dev", name + "b"},
		{"-n", name, "link", "set", name + "b", "up"},
	} {
		if err := ip(args...); err != nil {
			t.Skipf("a link between network namespaces: %v", err)
		}
	}
	address := net + "2:4222"
	server := startNATS(t, address, "ip", "netns", "exec", name)
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	until(t, "a NATS server", func() bool { return listens(address) })
	for _, plane := range []string{"nats", "shm"} {
		t.Run(plane, func(t *testing.T) {
			dir := t.TempDir()
			p, whole, _ := outageRun(t, dir, "run", "--nats", "nats://"+address, "--collectives", plane, "--snapshot-every", "5")
			workers := p.workers(t)
			began := time.Now()
			if err := ip("link", "set", name+"a", "down"); err != nil {
				t.Fatal(err)
			}
			detect := p.says(t, "\nfailed ", 1, began)
			time.Sleep(300 * time.Millisecond)
			if err := ip("link", "set", name+"a", "up"); err != nil {
				t.Fatal(err)
			}
			up := time.Now()
			resume := p.says(t, "\nrecovered ", 1, up)
			if detect == 0 || resume == 0 {
				t.Fatalf("it ended:\n%s", p.errs.String())
			}
			if err := p.wait(t, time.Minute); err != nil {
				t.Fatalf("%v:\n%s", err, p.errs.String())
			}
			gone(t, workers)
			sameEnd(t, whole, filepath.Join(dir, "run"))
			t.Logf("%s: noticed after %v, resumed %v after the link came back", plane, detect.Round(time.Millisecond), resume.Round(time.Millisecond))
		})
	}
}
