package models

import (
	"fmt"
	"iter"
	"strings"

	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
)

// Runs gives the contiguous runs of elements that a shard of a row-major
// tensor consists of, as pairs of offset in the whole and length; one after
// the other they are the shard, row-major. Dimensions beyond parts are whole.
func Runs(shape tensor.Shape, parts []graph.Part) (iter.Seq2[int, int], error) {
	if err := checkParts(shape, parts); err != nil {
		return nil, err
	}
	last := -1 // the last dimension that is cut
	for i, p := range parts {
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

// checkParts reports whether a tensor of that shape can be cut so.
func checkParts(shape tensor.Shape, parts []graph.Part) error {
	if len(parts) > len(shape) {
		return fmt.Errorf("models: a shard has %d parts, its tensor %d dimensions", len(parts), len(shape))
	}
	for i, p := range parts {
		if p.Count < 1 {
			continue // a Part left zero is the whole dimension
		}
		if p.Index < 0 || p.Index >= p.Count || shape[i]%p.Count != 0 {
			return fmt.Errorf("models: part %d of %d of dimension %d of %v is none", p.Index, p.Count, i, []int(shape))
		}
	}
	return nil
}

// CheckCover reports whether shards, each given by its parts, hold every
// element of a parameter exactly once.
func CheckCover(p *graph.Param, shards [][]graph.Part) error {
	have := 0
	for i, parts := range shards {
		if err := checkParts(p.Shape, parts); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		for _, other := range shards[:i] {
			if overlap(p.Shape, parts, other) {
				return fmt.Errorf("models: %s: two shards overlap: %s and %s", p.Name, formatParts(other), formatParts(parts))
			}
		}
		size := 1
		for d := range p.Shape {
			first, end := span(p.Shape, parts, d)
			size *= end - first
		}
		have += size
	}
	if have != p.Size() {
		return fmt.Errorf("models: %s: %d of its %d elements are in no shard", p.Name, p.Size()-have, p.Size())
	}
	return nil
}

// overlap reports whether two shards of a tensor have an element in common.
func overlap(shape tensor.Shape, a, b []graph.Part) bool {
	for d := range shape {
		firstA, endA := span(shape, a, d)
		firstB, endB := span(shape, b, d)
		if max(firstA, firstB) >= min(endA, endB) {
			return false
		}
	}
	return true
}

// span returns where a shard begins and ends along dimension d.
func span(shape tensor.Shape, parts []graph.Part, d int) (first, end int) {
	if d >= len(parts) || parts[d].Count < 1 {
		return 0, shape[d]
	}
	n := shape[d] / parts[d].Count
	return parts[d].Index * n, (parts[d].Index + 1) * n
}

// formatParts prints parts as "[0/2 0/1]", index over count.
func formatParts(parts []graph.Part) string {
	var list []string
	for _, p := range parts {
		list = append(list, fmt.Sprintf("%d/%d", p.Index, max(1, p.Count)))
	}
	return "[" + strings.Join(list, " ") + "]"
}
