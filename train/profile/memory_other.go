//go:build !linux && !darwin

package profile

import (
	"errors"
	"runtime"
)

// memoryBytes is not known how to find.
func memoryBytes() (int64, error) {
	return 0, errors.New("profile: memory of this machine: not known on " + runtime.GOOS + ": describe the machine in a file instead")
}
