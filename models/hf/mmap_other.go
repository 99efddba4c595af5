//go:build !unix

package hf

import (
	"io"
	"os"
)

// mapFile reads f where memory mapping is not at hand.
func mapFile(f *os.File, size int64) (data []byte, release func() error, err error) {
	data, err = io.ReadAll(io.LimitReader(f, size))
	return data, func() error { return nil }, err
}
