package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapFloats maps n elements that start at a huge page's boundary. The mapping
// is nil if the system refuses.
func mapFloats(n int) (x []float32, mapping []byte) {
	size := (n*4 + hugePage - 1) &^ (hugePage - 1)
	mapping, err := unix.Mmap(-1, 0, size+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil
	}
	skip := int(-uintptr(unsafe.Pointer(&mapping[0])) & (hugePage - 1))
	body := mapping[skip : skip+size]
	// Only advice: without huge pages the memory serves as well, if slower.
	_ = unix.Madvise(body, unix.MADV_HUGEPAGE)
	return unsafe.Slice((*float32)(unsafe.Pointer(&body[0])), n), mapping
}

func unmap(mapping []byte) { _ = unix.Munmap(mapping) }
