//go:build !unix

package data

import (
	"io"
	"os"
)

// mapFile reads f: there is no memory map on this system.
func mapFile(f *os.File, size int) ([]byte, func() error, error) {
	b := make([]byte, size)
	_, err := io.ReadFull(f, b)
	return b, func() error { return nil }, err
}
