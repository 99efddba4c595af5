//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// TestPasswordsShowNowhere trains over a server that wants a password, and looks
// for that in the arguments of all processes, in the environment of the workers,
// in all that is printed and in all files.
func TestPasswordsShowNowhere(t *testing.T) {
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, Username: "me", Password: "hunter2", NoSigs: true, NoLog: true, MaxPayload: 8 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(ns.Shutdown)
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not listen")
	}
	t.Setenv("GALVANI_NATS", strings.Replace(ns.ClientURL(), "//", "//me:hunter2@", 1))
	p, dir := endless(t, 2, "--record-step", "2")
	workers := p.workers(t)
	if len(workers) != 2 {
		t.Fatalf("%d workers", len(workers))
	}
	for _, pid := range append(workers, p.cmd.Process.Pid) {
		wantNoPassword(t, fmt.Sprintf("/proc/%d/cmdline", pid))
	}
	for _, pid := range workers {
		wantNoPassword(t, fmt.Sprintf("/proc/%d/environ", pid))
	}
	p.cmd.Process.Signal(os.Interrupt)
	if err := p.wait(t, 20*time.Second); err != nil {
		t.Fatalf("%v:\n%s", err, p.errs.String())
	}
	if text := p.errs.String() + p.out.String(); strings.Contains(text, "hunter2") {
		t.Errorf("printed:\n%s", text)
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			wantNoPassword(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(dir, "run", "config.yaml"))
	if err != nil || !bytes.Contains(config, []byte("nats: "+ns.ClientURL()+"\n")) {
		t.Errorf("config.yaml does not name the server: %v\n%s", err, config)
	}
	// The run goes on with the password from the environment, whatever its
	// config.yaml has.
	more := start(t, dir, "train", "--resume", "--out", "run", "--steps", "100000")
	until(t, "the resumed run's workers", func() bool {
		return len(more.workers(t)) == 2 || more.errs.String() != "" && strings.Contains(more.errs.String(), "galvani:")
	})
	more.cmd.Process.Signal(os.Interrupt)
	if err := more.wait(t, 30*time.Second); strings.Contains(more.errs.String(), "Authorization") || strings.Contains(more.errs.String(), "hunter2") {
		t.Errorf("%v:\n%s", err, more.errs.String())
	}
	// Without it the server refuses, and the error says so.
	os.Unsetenv("GALVANI_NATS")
	other := start(t, dir, "train", "--resume", "--out", "run", "--steps", "100000")
	if err := other.wait(t, 30*time.Second); err == nil || !strings.Contains(other.errs.String(), "Authorization") {
		t.Errorf("%v:\n%s", err, other.errs.String())
	}
}

func wantNoPassword(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("hunter2")) {
		t.Errorf("%s has the password", path)
	}
}
