package hf

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/nlpodyssey/safetensors"
)

// view adapts Tensor to the safetensors package, which asks for the bytes of
// one tensor at a time.
type view struct{ t Tensor }

// DType is F32.
func (v view) DType() safetensors.DType { return safetensors.F32 }

// Shape gives the shape in the package's type.
func (v view) Shape() []uint64 {
	shape := make([]uint64, len(v.t.Shape))
	for i, d := range v.t.Shape {
		shape[i] = uint64(d)
	}
	return shape
}

// DataLen is the number of bytes.
func (v view) DataLen() uint64 { return 4 * uint64(len(v.t.Data)) }

// Data gives the elements in little-endian order: the memory itself where the
// machine has that order, so that writing a large tensor takes no more of it.
func (v view) Data() []byte {
	if len(v.t.Data) == 0 {
		return nil
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return unsafe.Slice((*byte)(unsafe.Pointer(&v.t.Data[0])), 4*len(v.t.Data))
	}
	data := make([]byte, 0, 4*len(v.t.Data))
	for _, f := range v.t.Data {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(f))
	}
	return data
}
