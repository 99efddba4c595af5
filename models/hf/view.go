package hf

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/nlpodyssey/safetensors"

	"github.com/galvani-ml/galvani/graph"
)

// view adapts Tensor to the safetensors package, which asks for the bytes of
// one tensor at a time.
type view struct{ t Tensor }

// DType is F32.
func (v view) DType() safetensors.DType { return safetensors.F32 }

// Shape gives the shape in the package's type.
func (v view) Shape() []uint64 { return unsigned(v.t.Shape) }

// DataLen is the number of bytes.
func (v view) DataLen() uint64 { return 4 * uint64(len(v.t.Data)) }

// Data gives the elements.
func (v view) Data() []byte { return bytesOf(v.t.Data) }

// blank is a tensor of which only the shape is known: a file of such has the
// header of one with elements.
type blank []int

// DType is F32.
func (b blank) DType() safetensors.DType { return safetensors.F32 }

// Shape gives the shape in the package's type.
func (b blank) Shape() []uint64 { return unsigned(b) }

// DataLen is the number of bytes that the elements take.
func (b blank) DataLen() uint64 { return 4 * uint64(graph.Type{Shape: []int(b)}.Size()) }

// Data gives no elements.
func (b blank) Data() []byte { return nil }

func unsigned(shape []int) []uint64 {
	u := make([]uint64, len(shape))
	for i, d := range shape {
		u[i] = uint64(d)
	}
	return u
}

// littleEndian reports whether the machine has the byte order of the format.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// bytesOf gives elements in little-endian order: the memory itself where the
// machine has that order, so that writing a large tensor takes no more of it.
func bytesOf(x []float32) []byte {
	if len(x) == 0 {
		return nil
	}
	if littleEndian {
		return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x))
	}
	data := make([]byte, 0, 4*len(x))
	for _, f := range x {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(f))
	}
	return data
}
