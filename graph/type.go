package graph

import (
	"fmt"

	"github.com/chewxy/hm"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Type is the element type and shape of a node. A scalar has an empty shape.
type Type struct {
	Dtype tensor.Dtype
	Shape tensor.Shape
}

// TypeOf returns the type of n.
func TypeOf(n *G.Node) Type {
	return Type{Dtype: n.Dtype(), Shape: n.Shape()}
}

// Size returns the number of elements.
func (t Type) Size() int {
	size := 1
	for _, d := range t.Shape {
		size *= d
	}
	return size
}

// Dims returns the number of dimensions.
func (t Type) Dims() int { return len(t.Shape) }

// Rows returns the product of all dimensions but the last k.
func (t Type) Rows(k int) int {
	rows := 1
	for _, d := range t.Shape[:len(t.Shape)-k] {
		rows *= d
	}
	return rows
}

// Cols returns the product of the last k dimensions.
func (t Type) Cols(k int) int {
	cols := 1
	for _, d := range t.Shape[len(t.Shape)-k:] {
		cols *= d
	}
	return cols
}

// Bytes returns the size of the tensor in memory.
func (t Type) Bytes() int64 { return int64(t.Size()) * int64(t.Dtype.Size()) }

// String gives the type as in "float32[2 8 48]".
func (t Type) String() string {
	return fmt.Sprintf("%v%v", t.Dtype, []int(t.Shape))
}

// IsFloat reports whether t holds real numbers, as opposed to token ids.
func (t Type) IsFloat() bool { return t.Dtype == tensor.Float32 || t.Dtype == tensor.Float64 }

// like returns a type with t's element type and another shape.
func (t Type) like(shape ...int) Type { return Type{Dtype: t.Dtype, Shape: tensor.Shape(shape)} }

// hm returns the type in Gorgonia's type system.
func (t Type) hm() hm.Type {
	if len(t.Shape) == 0 {
		return t.Dtype
	}
	return G.TensorType{Dims: len(t.Shape), Of: t.Dtype}
}

// sameShape reports whether a and b have equal dimensions. Unlike
// tensor.Shape.Eq it does not take a vector for a column matrix.
func sameShape(a, b tensor.Shape) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
