//go:build !linux

package train

import (
	"errors"
	"os"
)

// memoryFile fails: this system has no such files.
func memoryFile(string) (*os.File, error) {
	return nil, errors.New("this system has no files in memory; use --save-every")
}
