//go:build unix

package bench

import (
	"os/exec"
	"syscall"
	"time"
)

// group puts a command that has not started in a process group of its own,
// which is killed as a whole when its context ends, so that nothing it started
// stays behind.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = time.Second
}

// killGroup ends all that a started command left running.
func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
