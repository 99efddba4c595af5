package graph

import "gorgonia.org/tensor"

// Placed is a Spec that computes by where its operands lie in the whole
// tensors, as dropout draws random numbers by position. As models make it, it
// takes whole tensors.
type Placed interface {
	Spec
	// Place returns the Spec for one rank's part, given how the result and each
	// operand are cut out of the whole, dimension by dimension.
	Place(out []Part, in [][]Part) Spec
}

// First returns where a part of size elements starts in the whole dimension.
func (p Part) First(size int) int { return p.Index * size }

// Whole returns the size of the dimension that a part of size elements is cut
// out of. The zero Part is a whole dimension.
func (p Part) Whole(size int) int { return max(1, p.Count) * size }

// part returns p, or the zero Part where that is the whole.
func (p Part) part() Part {
	if p.Count <= 1 {
		return Part{}
	}
	return p
}

// position returns the index in the whole tensor of element i of a part.
func position(shape tensor.Shape, parts []Part, i int) int {
	index, stride := 0, 1
	for d := len(shape) - 1; d >= 0; d-- {
		var p Part
		if d < len(parts) {
			p = parts[d]
		}
		size := shape[d]
		index += stride * (p.First(size) + i%size)
		i /= size
		stride *= p.Whole(size)
	}
	return index
}
