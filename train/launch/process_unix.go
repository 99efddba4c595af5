//go:build unix

package launch

import "syscall"

// childAttributes puts a worker in a process group of its own, so that Ctrl-C
// in a terminal reaches the coordinator alone, which then ends the job in
// order.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
