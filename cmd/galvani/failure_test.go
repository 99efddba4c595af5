//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A program is galvani as a process of its own.
type program struct {
	cmd  *exec.Cmd
	errs output
	out  output
	done chan error
}

// An output of a program may be read while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs galvani in dir.
func start(t *testing.T, dir string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(os.Args[0], args...), done: make(chan error, 1)}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), envMain+"=1", "XDG_CACHE_HOME="+dir)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	go func() { p.done <- p.cmd.Wait() }()
	return p
}

// wait returns how the program ended, which it must within limit.
func (p *program) wait(t *testing.T, limit time.Duration) error {
	t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(limit):
		t.Fatalf("still running after %v:\n%s", limit, p.errs.String())
		return nil
	}
}

// workers returns the processes that the program has started.
func (p *program) workers(t *testing.T) []int {
	t.Helper()
	var pids []int
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for field := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// gone waits until none of the processes is left.
func gone(t *testing.T, pids []int) {
	t.Helper()
	for range 500 {
		if !slices.ContainsFunc(pids, func(pid int) bool { return syscall.Kill(pid, 0) == nil }) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("processes %v are left behind", pids)
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s has not come about", what)
}

// endless starts a run that would take very long, and waits for its first
// steps.
func endless(t *testing.T, workers int, more ...string) (p *program, dir string) {
	t.Helper()
	dir = t.TempDir()
	text := strings.Repeat("It was the best of times, it was the worst of times. ", 40)
	if err := os.WriteFile(filepath.Join(dir, "text.txt"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"train", "--model", "gpt-nano", "--data", "text.txt", "--vocab", "300", "--steps", "1000000",
		"--batch", "4", "--seq", "16", "--workers", strconv.Itoa(workers), "--out", "run"}, more...)
	if !slices.Contains(more, "--plan") {
		args = append(args, "--plan", "dp=2") // --plan auto would measure this machine first
	}
	p = start(t, dir, args...)
	until(t, "the third step", func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, "run", "metrics.jsonl"))
		return bytes.Count(text, []byte("\n")) >= 3
	})
	return p, dir
}

// failsWithin checks that the program fails soon, says why and leaves nothing.
func (p *program) failsWithin(t *testing.T, limit time.Duration, workers []int, why ...string) {
	t.Helper()
	err := p.wait(t, limit)
	if code := p.cmd.ProcessState.ExitCode(); err == nil || code != exitFailed {
		t.Errorf("exit code %d (%v), want %d", code, err, exitFailed)
	}
	for _, want := range why {
		if !strings.Contains(p.errs.String(), want) {
			t.Errorf("standard error does not say %q:\n%s", want, p.errs.String())
		}
	}
	gone(t, workers)
}

func TestKilledWorkerEndsTheJob(t *testing.T) {
	for _, plan := range []string{"dp=2", "pp=2 micro=2"} {
		t.Run(plan, func(t *testing.T) {
			p, _ := endless(t, 2, "--max-restarts", "0", "--plan", plan)
			workers := p.workers(t)
			if len(workers) != 2 {
				t.Fatalf("%d workers", len(workers))
			}
			syscall.Kill(workers[1], syscall.SIGKILL)
			p.failsWithin(t, 5*time.Second, workers, "galvani: worker 1 (pid "+strconv.Itoa(workers[1])+") was killed by signal 9 (killed)")
		})
	}
}

func TestSuspendedWorkerEndsTheJob(t *testing.T) {
	p, _ := endless(t, 2, "--max-restarts", "0")
	workers := p.workers(t)
	syscall.Kill(workers[0], syscall.SIGSTOP)
	p.failsWithin(t, 10*time.Second, workers, "galvani: worker 0: ", "no heartbeat for")
}

func TestKilledCoordinatorEndsTheWorkers(t *testing.T) {
	p, _ := endless(t, 2)
	workers := p.workers(t)
	p.cmd.Process.Kill()
	p.wait(t, 5*time.Second)
	gone(t, workers)
}

func TestInterruptSavesAndEnds(t *testing.T) {
	p, dir := endless(t, 2)
	workers := p.workers(t)
	p.cmd.Process.Signal(os.Interrupt)
	if err := p.wait(t, 10*time.Second); err != nil {
		t.Fatalf("%v:\n%s", err, p.errs.String())
	}
	gone(t, workers)
	if !strings.Contains(p.errs.String(), "continue with: galvani train --resume --out") {
		t.Errorf("standard error does not say how to continue:\n%s", p.errs.String())
	}
	manifests, _ := filepath.Glob(filepath.Join(dir, "run", "checkpoints", "step-*", "manifest.json"))
	if len(manifests) != 1 {
		t.Fatalf("%d checkpoints, want 1", len(manifests))
	}
	step, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(manifests[0])), "step-"))
	again := start(t, dir, "train", "--resume", "--out", "run", "--steps", strconv.Itoa(step+2), "--sample", "0")
	if err := again.wait(t, 30*time.Second); err != nil {
		t.Errorf("resuming: %v:\n%s", err, again.errs.String())
	}
}

// measuring starts a measurement that would take very long, and waits for its
// workers to be at it.
func measuring(t *testing.T) (p *program, workers []int) {
	t.Helper()
	p = start(t, t.TempDir(), "profile", "--window", "1h")
	until(t, "a measurement", func() bool { return strings.Contains(p.errs.String(), "measuring") })
	if workers = p.workers(t); len(workers) != 2 {
		t.Fatalf("%d workers", len(workers))
	}
	return p, workers
}

func TestKilledWorkerEndsTheProfile(t *testing.T) {
	p, workers := measuring(t)
	syscall.Kill(workers[1], syscall.SIGKILL)
	p.failsWithin(t, 5*time.Second, workers, "galvani: worker 1 (pid "+strconv.Itoa(workers[1])+") was killed by signal 9 (killed)", "use fewer --workers")
}

func TestInterruptEndsTheProfile(t *testing.T) {
	p, workers := measuring(t)
	p.cmd.Process.Signal(os.Interrupt)
	p.failsWithin(t, 5*time.Second, workers, "galvani: interrupted")
	if files, _ := filepath.Glob(filepath.Join(p.cmd.Dir, "galvani", "profiles", "*")); len(files) > 0 {
		t.Errorf("an interrupted measurement leaves %v", files)
	}
}

func TestKilledCoordinatorEndsTheProfile(t *testing.T) {
	p, workers := measuring(t)
	p.cmd.Process.Kill()
	p.wait(t, 5*time.Second)
	gone(t, workers)
}

// TestKilledServerEndsTheJob trains against an external NATS server, a process
// of its own, and kills it.
func TestKilledServerEndsTheJob(t *testing.T) {
	if testing.Short() {
		t.Skip("builds nats-server")
	}
	server, url := natsServer(t)
	p, _ := endless(t, 2, "--max-restarts", "0", "--nats", url)
	workers := p.workers(t)
	server.Process.Kill()
	p.failsWithin(t, 5*time.Second, workers, "NATS server "+url)
}

// natsServer builds and starts nats-server.
func natsServer(t *testing.T) (*exec.Cmd, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats-server")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("building nats-server: %v\n%s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	host, port, _ := net.SplitHostPort(address)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	server := exec.CommandContext(ctx, path, "-a", host, "-p", port)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Wait() })
	until(t, "nats-server on "+address, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return server, "nats://" + address
}
