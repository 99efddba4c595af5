package parallel

import (
	"fmt"

	"github.com/galvani-ml/galvani/graph"
	"gorgonia.org/tensor"
)

// Placement says how a tensor lies on the ranks of one axis, and with that how
// its gradient does.
type Placement int

// The placements that are no shards. The gradient of each is the other side of
// the same sum: where every rank makes its own use of a value, the gradients are
// parts of a sum; where the values are parts of a sum, each gets the whole
// gradient.
const (
	// Replicate: every rank has the value, and the whole gradient.
	Replicate Placement = iota
	// Copied: every rank has the value and makes its own use of it, so its
	// gradient is Partial. Parameters are Copied on an axis that splits the
	// batch: their gradients are summed once a step.
	Copied
	// Partial: the value is the sum over the ranks; each has the whole gradient.
	Partial
	shard0
)

// Shard places equal parts along a dimension, in order of rank. The gradient
// is sharded alike.
func Shard(dim int) Placement { return shard0 + Placement(dim) }

// Dim returns the dimension of a shard; sharded is false for other placements.
func (p Placement) Dim() (dim int, sharded bool) { return int(p - shard0), p >= shard0 }

// Gradient returns the placement of the gradient of a value so placed.
func (p Placement) Gradient() Placement {
	switch p {
	case Copied:
		return Partial
	case Partial:
		return Replicate
	}
	return p
}

// String gives the placement as in "shard(1)".
func (p Placement) String() string {
	if d, ok := p.Dim(); ok {
		return fmt.Sprintf("shard(%d)", d)
	}
	return [...]string{"replicate", "copied", "partial"}[p]
}

// Layout is the placement of a tensor on each of several axes. Several axes may
// shard one dimension, in an order: one splits it, the next splits the parts.
type Layout []Placement

// natural is the order in which axes split a dimension unless something else is
// said: outermost first.
func (l Layout) natural() []int {
	order := make([]int, len(l))
	for i := range order {
		order[i] = i
	}
	return order
}

// local returns the type of a rank's part of a tensor of type t.
func (l Layout) local(t graph.Type, axes []graph.Axis) (graph.Type, error) {
	shape := append(tensor.Shape{}, t.Shape...)
	for i, p := range l {
		d, sharded := p.Dim()
		if !sharded {
			continue
		}
		if d >= len(shape) {
			return graph.Type{}, fmt.Errorf("axis %s shards dimension %d, which %v does not have", axes[i].Name, d, t)
		}
		if shape[d]%axes[i].Size != 0 {
			return graph.Type{}, fmt.Errorf("dimension %d of %v does not divide among the %d ranks of axis %s",
				d, t, axes[i].Size, axes[i].Name)
		}
		shape[d] /= axes[i].Size
	}
	return graph.Type{Dtype: t.Dtype, Shape: shape}, nil
}

// parts returns how a rank's part is cut out of a tensor of the given number
// of dimensions by axes that split it in the given order.
func (l Layout) parts(dims int, axes []graph.Axis, order []int) []graph.Part {
	parts := make([]graph.Part, dims)
	for d := range parts {
		parts[d] = graph.Part{Index: 0, Count: 1}
	}
	for _, i := range order {
		if d, sharded := l[i].Dim(); sharded {
			parts[d].Index = parts[d].Index*axes[i].Size + axes[i].Rank
			parts[d].Count *= axes[i].Size
		}
	}
	return parts
}
