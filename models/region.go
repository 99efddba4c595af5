package models

import (
	"fmt"
	"iter"

	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
)

// Runs gives the contiguous runs of elements that a shard of a row-major
// tensor consists of, as pairs of offset in the whole and length; one after
// the other they are the shard, row-major. Dimensions beyond parts are whole.
func Runs(shape tensor.Shape, parts []graph.Part) (iter.Seq2[int, int], error) {
	if len(parts) > len(shape) {
		return nil, fmt.Errorf("models: a shard has %d parts, its tensor %d dimensions", len(parts), len(shape))
	}
	last := -1 // the last dimension that is cut
	for i, p := range parts {
		if p.Count < 1 {
			continue // a Part left zero is the whole dimension
		}
		if p.Index < 0 || p.Index >= p.Count || shape[i]%p.Count != 0 {
			return nil, fmt.Errorf("models: part %d of %d of dimension %d of %v is none", p.Index, p.Count, i, []int(shape))
		}
		if p.Count > 1 {
			last = i
		}
	}
	size := graph.Type{Shape: shape}.Size()
	if last < 0 || size == 0 {
		return func(yield func(int, int) bool) { yield(0, size) }, nil
	}
	return func(yield func(int, int) bool) { walk(shape, parts[:last+1], 0, size, yield) }, nil
}

// walk visits the runs within the block of size elements at offset, which
// spans shape; parts is never empty and its last is cut. It reports whether to
// go on.
func walk(shape tensor.Shape, parts []graph.Part, offset, size int, yield func(int, int) bool) bool {
	first, n := 0, shape[0]
	if p := parts[0]; p.Count > 1 {
		n /= p.Count
		first = p.Index * n
	}
	row := size / shape[0]
	if len(parts) == 1 {
		return yield(offset+first*row, n*row)
	}
	for i := first; i < first+n; i++ {
		if !walk(shape[1:], parts[1:], offset+i*row, row, yield) {
			return false
		}
	}
	return true
}
