package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestTokensPerSecond(t *testing.T) {
	for _, c := range []struct {
		text string
		want float64
	}{
		{"12.5 tok/s", 12.5}, {"step 1: 10 tokens/s\nstep 2: 1,234.5tokens/sec\nbye 7\n", 1234.5}, {"1e3 tokens/s", 1000},
		{"loading\n 42.5 \n", 42.5}, {"7", 7},
		{"", 0}, {"done", 0}, {"0 tok/s", 0}, {"5 steps\nend", 0}, {"-3", 0}, {"nan", 0}, {"inf", 0},
	} {
		got, err := tokensPerSecond(c.text)
		if got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%q gives %g, %v; want %g", c.text, got, err, c.want)
		}
	}
}

// commanded measures a tiny workload beside a command.
func commanded(ctx context.Context, command string, o TrainOptions) (Result, error) {
	o.Rounds, o.Steps, o.Threads = 2, 1, 1
	c, err := ParsePeerCommand("mine=" + command)
	if err != nil {
		return Result{}, err
	}
	return contest(ctx, o, tiny, self("fast"), c.peer())
}

func TestCommand(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Setenv("OPENBLAS_CORETYPE", "Haswell")
	r, err := commanded(t.Context(), `test -z "$OPENBLAS_CORETYPE" && test $GALVANI_BENCH_LAYERS$GALVANI_BENCH_TIED = 20 &&
		echo $GALVANI_BENCH_BATCH$GALVANI_BENCH_SEQ$GALVANI_BENCH_WIDTH$GALVANI_BENCH_HEADS$GALVANI_BENCH_VOCAB$GALVANI_BENCH_THREADS tok/s`, TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	their := r.Theirs["mine"]
	if math.Abs(their.TokensPerSecond-28162131) > 1 || r.Peers["mine"] <= 0 || their.Loss != 0 {
		t.Errorf("side %+v, ratio %g", their, r.Peers["mine"])
	}
}

func TestCommandFails(t *testing.T) {
	for command, want := range map[string]string{
		"echo so it goes; exit 3":  "peer mine: exit status 3; it printed last: so it goes",
		"true":                     "peer mine: no number of tokens a second",
		"echo fast; echo 3 apples": "it printed last: fast",
		"echo begun; sleep 100":    "peer mine: not done within 500ms; it printed last: begun",
		"kill -9 $$":               "peer mine: signal: killed; it printed nothing",
	} {
		t.Run(command, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			o := TrainOptions{}
			if strings.Contains(command, "sleep") {
				o.PeerTimeout = 500 * time.Millisecond
			}
			_, err := commandedAlone(t.Context(), command, o)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an error with %q", err, want)
			}
		})
	}
	for _, bad := range []string{"", "x", "=echo", "x= ", "galvani=echo 1", "pytorch=echo 1"} {
		if _, err := ParsePeerCommand(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// commandedAlone runs a command once, without another side that the timeout
// meets.
func commandedAlone(ctx context.Context, text string, o TrainOptions) (reply, error) {
	s, err := PeerCommand{"mine", text}.peer().open(ctx, o, tiny)
	if err != nil {
		return reply{}, err
	}
	return s.steps(1)
}

// TestCommandCancel ends the context while what the shell started runs: nothing
// of it stays behind.
func TestCommandCancel(t *testing.T) {
	defer goleak.VerifyNone(t)
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for {
			if text, _ := os.ReadFile(file); bytes.HasSuffix(text, []byte("\n")) {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err := commandedAlone(ctx, fmt.Sprintf("sleep 100 & echo $! > %s; wait; sleep 100", file), TrainOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the context was canceled", err)
	}
	gone(t, file)
}

// TestCommandLeaves runs a command that leaves a process behind.
func TestCommandLeaves(t *testing.T) {
	defer goleak.VerifyNone(t)
	file := filepath.Join(t.TempDir(), "pid")
	r, err := commandedAlone(t.Context(), fmt.Sprintf("sleep 100 & echo $! > %s; echo 5 tok/s", file), TrainOptions{})
	if err != nil || len(r.Seconds) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	gone(t, file)
}

// gone waits until the process whose id is in a file has ended.
func gone(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if syscall.Kill(pid, 0) != nil || zombie(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d still runs", pid)
}

// zombie says whether a process has ended and waits for its parent to notice.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, ok := strings.Cut(string(text), ") ")
	return err == nil && ok && strings.HasPrefix(state, "Z")
}

// fakePython is a program in place of Python: a shell script.
func fakePython(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "python3")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	kept := pythons
	pythons = []string{filepath.Join(t.TempDir(), "absent"), path}
	t.Cleanup(func() { pythons = kept })
	return path
}

// TestFakeTorch plays the protocol with a script whose losses are right or not.
func TestFakeTorch(t *testing.T) {
	const script = `
case "$2" in "import torch") exit 0;; esac
read workload; echo '{"version":"0.1"}'
read warm; echo '{"seconds":[1,1],"losses":[%s,2.5],"peak_bytes":7}'
read steps; echo '{"seconds":[0.5],"losses":[%s],"peak_bytes":8}'
`
	for _, c := range []struct{ first, last, fault string }{
		{"2.6", "2.4", ""},
		{"3.3", "2.4", "the first loss of pytorch is 3.3, not near ln V = 2.56495"},
		{"2.6", "2.7", "the loss of pytorch went from 2.6 to 2.7: it does not learn"},
	} {
		defer goleak.VerifyNone(t)
		python := fakePython(t, fmt.Sprintf(script, c.first, c.last))
		r, err := contest(t.Context(), TrainOptions{Rounds: 1, Steps: 1, Threads: 1}, tiny, self("fast"), torch(python))
		switch {
		case c.fault != "":
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %v, want %q", err, c.fault)
			}
		case err != nil:
			t.Error(err)
		case r.Theirs[pytorch].Version != "0.1" || r.Theirs[pytorch].Seconds != 0.5 || r.Theirs[pytorch].MemoryBytes != 8:
			t.Errorf("side %+v", r.Theirs[pytorch])
		}
	}
}

// TestNoTorch is told on one line, and the others are measured.
func TestNoTorch(t *testing.T) {
	defer goleak.VerifyNone(t)
	fakePython(t, "exit 1")
	var out, log bytes.Buffer
	o := TrainOptions{Rounds: 1, Steps: 1, Threads: 1, Peers: []string{PeersUsual}, JSON: true, Log: &log}
	if err := train(t.Context(), o, &out, tiny); err != nil {
		t.Fatal(err)
	}
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "torch") {
		t.Errorf("log %q", log.String())
	}
	var r Result
	if err := json.NewDecoder(&out).Decode(&r); err != nil || len(r.Peers) != 1 || r.Peers[theirs] <= 0 {
		t.Errorf("%v, peers %v", err, r.Peers)
	}
}

// TestTorch measures PyTorch for real, where there is one.
func TestTorch(t *testing.T) {
	python := findTorch(t.Context())
	if python == "" {
		t.Skip("no python3 here can import torch")
	}
	defer goleak.VerifyNone(t)
	wide := tiny
	wide.Tied, wide.Vocab = true, 101
	r, err := contest(t.Context(), TrainOptions{Rounds: 1, Steps: 3, Threads: 1, PeerTimeout: time.Minute}, wide, self(ours), torch(python))
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Theirs[pytorch]; s.Version == "" || s.Seconds <= 0 || s.Loss <= 0 || r.Peers[pytorch] <= 0 {
		t.Errorf("side %+v", s)
	}
}

func TestPeersOf(t *testing.T) {
	names := func(o TrainOptions, w workload, python string) string {
		peers, err := peersOf(o, w, python)
		if err != nil {
			return err.Error()
		}
		var s []string
		for _, p := range peers {
			s = append(s, p.name)
		}
		return strings.Join(s, " ")
	}
	for _, c := range []struct {
		peers  string
		w      workload
		python string
		want   string
	}{
		{"", small, "", "gorgonia"}, {"", character, "p", ""}, {PeersUsual, small, "p", "gorgonia pytorch"}, {PeersUsual, character, "p", "pytorch"},
		{PeersUsual, character, "", ""}, {PeersNone, small, "p", ""}, {"gorgonia,pytorch", character, "p", "gorgonia pytorch"}, {"pytorch", small, "", ""},
		{"jax", small, "", `bench: no peer is named "jax": there are gorgonia, pytorch`},
	} {
		var o TrainOptions
		if c.peers != "" {
			o.Peers = strings.Split(c.peers, ",")
		}
		if got := names(o, c.w, c.python); got != c.want {
			t.Errorf("--peers %q of %s: %q, want %q", c.peers, c.w.Label, got, c.want)
		}
	}
}

func TestWorkloads(t *testing.T) {
	if got := strings.Join(Workloads(), " "); got != "small char gpt2-124m-t64 gpt2-124m-t256 all" {
		t.Errorf("workloads %s", got)
	}
	for name, want := range map[string]int{"small": 2, "char": 1, all: 5} {
		if ws, err := chosen([]string{name}); err != nil || len(ws) != want {
			t.Errorf("%s: %d workloads, %v", name, len(ws), err)
		}
	}
	if err := Train(t.Context(), TrainOptions{Workloads: []string{"gpt5"}}, nil); err == nil || !strings.Contains(err.Error(), `no workload is named "gpt5"`) {
		t.Errorf("got %v", err)
	}
}
