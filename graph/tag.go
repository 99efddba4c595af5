package graph

import "fmt"

// Pass says when an operation runs.
type Pass uint8

// The passes of a training step that a graph describes.
const (
	Forward Pass = iota
	Backward
)

// Once says how often an operation runs within a step. What runs once does so
// for all micro-batches together. It is meant for conversions of parameters: a
// sharded parameter that is gathered before its use, with a gradient that is
// reduce-scattered, is ZeRO-3, ZeRO-2 or ZeRO-1 in turn (Rajbhandari et al.,
// ZeRO: Memory Optimizations Toward Training Trillion Parameter Models, 2020).
type Once uint8

// The numbers of times. Of operations that follow one another, as gathers over
// two axes, all should have the same.
const (
	// OnceNever runs forward and backward with every micro-batch.
	OnceNever Once = iota
	// OnceForward runs forward before the step's first micro-batch and keeps the
	// result, and backward with every micro-batch. The operation may depend on
	// parameters only.
	OnceForward
	// OnceBoth runs forward as OnceForward, and backward after the step's last
	// micro-batch, on the sum of the gradients that came. So the operation must
	// be linear: a collective or a slice.
	OnceBoth
)

// Tag places an operation in the model. Gradients inherit the tag of the
// operation they belong to, with Pass set to Backward.
type Tag struct {
	Layer     int    // index into Model.Layers
	Name      string // as "h.3.attn.c_proj"
	Pass      Pass
	Recompute bool // a forward operation run again for the backward pass
	Once      Once // whether it runs with every micro-batch
}

// String gives the tag as it appears in errors.
func (t Tag) String() string {
	switch {
	case t.Pass == Backward:
		return fmt.Sprintf("layer %d %s (backward)", t.Layer, t.Name)
	case t.Recompute:
		return fmt.Sprintf("layer %d %s (recompute)", t.Layer, t.Name)
	}
	return fmt.Sprintf("layer %d %s", t.Layer, t.Name)
}
