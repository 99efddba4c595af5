//go:build unix

package hf

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps f into memory, read-only.
func mapFile(f *os.File, size int64) (data []byte, release func() error, err error) {
	if size == 0 {
		return nil, func() error { return nil }, nil // an empty mapping is an error
	}
	if size != int64(int(size)) {
		return nil, nil, unix.EFBIG
	}
	data, err = unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return data, func() error { return unix.Munmap(data) }, nil
}
