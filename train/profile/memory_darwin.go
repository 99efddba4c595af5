package profile

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// memoryBytes is the memory of this machine.
func memoryBytes() (int64, error) {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0, fmt.Errorf("profile: memory of this machine: %w", err)
	}
	return int64(n), nil
}
