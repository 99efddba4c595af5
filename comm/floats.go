package comm

import (
	"encoding/binary"
	"unsafe"
)

// littleEndian reports whether this machine stores float32 as the wire does.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// rawBytes views x as the bytes it is made of.
func rawBytes(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// rawFloats views b, whose length is a multiple of 4, as float32. Frames keep
// their payload aligned; a payload that is not is copied.
func rawFloats(b []byte) []float32 {
	p := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(p)%4 != 0 {
		x := make([]float32, len(b)/4)
		copy(rawBytes(x), b)
		return x
	}
	return unsafe.Slice((*float32)(p), len(b)/4)
}

// addFloats computes dst[i] += src[i]. The slices have equal length.
func addFloats(dst, src []float32) {
	if n := len(dst) &^ (vectorStep - 1); n > 0 && vectors {
		addVectors(&dst[0], &src[0], n)
		dst, src = dst[n:], src[n:]
	}
	addScalars(dst, src)
}

// addScalars is addFloats without vector instructions. Eight independent sums a
// turn keep the adder busy.
func addScalars(dst, src []float32) {
	for len(dst) >= 8 && len(src) >= 8 {
		d, s := (*[8]float32)(dst), (*[8]float32)(src)
		d[0] += s[0]
		d[1] += s[1]
		d[2] += s[2]
		d[3] += s[3]
		d[4] += s[4]
		d[5] += s[5]
		d[6] += s[6]
		d[7] += s[7]
		dst, src = dst[8:], src[8:]
	}
	for i, v := range src {
		dst[i] += v
	}
}
