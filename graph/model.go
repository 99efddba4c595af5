package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Model is a whole network as one graph over one micro-batch, before any
// partitioning. Nothing in it holds values.
type Model struct {
	Graph  *G.ExprGraph
	Layers []Layer
	Params []*Param
	Inputs []*Input
	States []*State // key and value caches; empty when training
	Logits *G.Node  // [B, T, V]; nil where the graph ends before the head
	Loss   *G.Node  // scalar; nil when not training
}

// Layer is a unit that the planner may place and tune on its own.
type Layer struct {
	Name string // "embedding", "h.0", "head"
	Kind string // layers of equal Kind have equal structure
	// Out is the activation that leaves the layer; nil for the last one.
	Out *G.Node
}

// Param is a learned tensor.
type Param struct {
	Name string // as in the Hugging Face checkpoint of the model
	Node *G.Node
	// Shape is the shape in the graph and Stored the one in checkpoints. They
	// hold the same elements in the same order.
	Shape, Stored tensor.Shape
	Init          Init
	Layer         int // the first layer that uses it

	split int // 1 + the dimension that tensor parallelism splits, 0 for none
}

// Split returns the dimension along which tensor parallelism splits the
// parameter: attention heads, the inner width of a feed-forward layer, or the
// vocabulary. ok is false for parameters that it leaves whole. See
// [Builder.Split].
func (p *Param) Split() (dim int, ok bool) { return p.split - 1, p.split > 0 }

// Decays reports whether weight decay applies: to stored shapes of 2 or more
// dimensions, not to biases and norms.
func (p *Param) Decays() bool { return len(p.Stored) >= 2 }

// Size returns the number of elements.
func (p *Param) Size() int { return Type{Shape: p.Shape}.Size() }

// Init says how a parameter starts: normally distributed around Mean.
type Init struct {
	Mean, Std float64
}

// Names of the inputs that models may have.
const (
	InputTokens     = "tokens"      // [B, T] int32
	InputTokenTypes = "token_types" // [B, T] int32
	InputMask       = "mask"        // [B, T] int32, 1 = attend, 0 = padding
	InputTargets    = "targets"     // [B, T] int32, IgnoreIndex = no loss
	InputScale      = "scale"       // scalar, 1 / number of targets in the batch
	InputRNG        = "rng"         // [RNGWords] int32, see Dropout
	InputStart      = "start"       // [1] int32, position of the first token
)

// Input is a leaf that takes data anew each micro-batch.
type Input struct {
	Name string
	Node *G.Node
	// Parts is how a rank's input is cut out of the whole micro-batch's: along
	// each dimension, part Index of Count. Nil is the whole.
	Parts []Part
}

// PerRow reports whether the input has the batch as its first dimension.
func (in *Input) PerRow() bool {
	switch in.Name {
	case InputTokens, InputTokenTypes, InputMask, InputTargets:
		return true
	}
	return false
}

// State is a leaf that keeps its value from run to run. Next is the node whose
// value replaces it.
type State struct {
	Name       string
	Node, Next *G.Node
}

// Input returns the input of that name, nil without.
func (m *Model) Input(name string) *Input {
	for _, in := range m.Inputs {
		if in.Name == name {
			return in
		}
	}
	return nil
}

// NumParams returns the number of elements of all parameters.
func (m *Model) NumParams() int {
	var n int
	for _, p := range m.Params {
		n += p.Size()
	}
	return n
}

// leaf adds a named leaf to g.
func leaf(g *G.ExprGraph, name string, t Type) *G.Node {
	if t.Dims() == 0 {
		return G.NewScalar(g, t.Dtype, G.WithName(name))
	}
	return G.NewTensor(g, t.Dtype, t.Dims(), G.WithShape(t.Shape...), G.WithName(name))
}

// NewLeaf adds a leaf to g. A graph holds one leaf of a name; Gorgonia would
// take a second for the first.
func NewLeaf(g *G.ExprGraph, name string, t Type) (*G.Node, error) {
	for _, n := range g.Inputs() {
		if n.Name() == name {
			return nil, fmt.Errorf("graph: two leaves named %q", name)
		}
	}
	return leaf(g, name, t), nil
}
