//go:build !linux

package bench

import (
	"errors"
	"os/exec"
)

// inNetwork has a command fail to start: only Linux has network namespaces.
func inNetwork(cmd *exec.Cmd) { cmd.Err = errors.New("only Linux has network namespaces") }
