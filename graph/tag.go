package graph

import "fmt"

// Pass says when an operation runs.
type Pass uint8

// The passes of a training step that a graph describes.
const (
	Forward Pass = iota
	Backward
)

// Tag places an operation in the model. Gradients inherit the tag of the
// operation they belong to, with Pass set to Backward.
type Tag struct {
	Layer     int    // index into Model.Layers
	Name      string // as "h.3.attn.c_proj"
	Pass      Pass
	Recompute bool // a forward operation run again for the backward pass
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
