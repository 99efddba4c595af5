package bench

import (
	"os/exec"
	"syscall"
)

// inNetwork has a command that has not started run in a network namespace of its
// own, with a process group of its own.
func inNetwork(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Cloneflags: syscall.CLONE_NEWNET}
}
