package kernel

import (
	"sync"
	"unsafe"
)

// hugePage is the size of the pages asked for; shorter slices come from the
// Go heap.
const hugePage = 2 << 20

// mapped holds the mappings behind slices given out, by first element.
var mapped sync.Map // *float32 to []byte

// Alloc returns n zeroed elements that start at a multiple of 64 bytes. From
// 2 MiB on they lie outside the Go heap, in huge pages where the system has
// them, and must be given back with [Free]. Where mapping fails, or is not
// supported, they come from the Go heap.
func Alloc(n int) []float32 {
	if n*4 >= hugePage {
		if x, mapping := mapFloats(n); mapping != nil {
			mapped.Store(&x[0], mapping)
			return x
		}
	}
	if n <= 0 {
		return nil
	}
	x := make([]float32, n+15)
	skip := int(-uintptr(unsafe.Pointer(&x[0]))&63) / 4
	return x[skip : skip+n : skip+n]
}

// Free gives memory from [Alloc] back. x must be the slice Alloc returned, and
// nothing may use it afterwards; freeing another slice does nothing.
func Free(x []float32) {
	if len(x) == 0 {
		return
	}
	if mapping, ok := mapped.LoadAndDelete(&x[0]); ok {
		unmap(mapping.([]byte))
	}
}
