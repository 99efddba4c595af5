package graph

import (
	"errors"
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Builder builds a Model layer by layer. Its methods remember the first error,
// which Model returns, and after it do nothing and return nil, so that a
// model's mathematics reads as such.
//
// Names of parameters and operations are relative to the current layer's
// prefix.
type Builder struct {
	model  *Model
	dtype  tensor.Dtype
	prefix string
	names  map[string]bool
	sites  int // dropout sites so far
	err    error
}

// NewBuilder starts a model with elements of type dtype, Float32 or Float64.
func NewBuilder(dtype tensor.Dtype) *Builder {
	return &Builder{model: &Model{Graph: G.NewGraph()}, dtype: dtype, names: map[string]bool{}}
}

// Model returns what was built, or the first error.
func (b *Builder) Model() (*Model, error) {
	if b.err != nil {
		return nil, b.err
	}
	return b.model, nil
}

// Fail records err unless there is an error already.
func (b *Builder) Fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// Layer begins a layer. Parameters and operations that follow belong to it;
// prefix goes before their names.
func (b *Builder) Layer(name, kind, prefix string) {
	b.model.Layers = append(b.model.Layers, Layer{Name: name, Kind: kind})
	b.prefix = prefix
}

// EndLayer records the activation that leaves the current layer.
func (b *Builder) EndLayer(out *G.Node) *G.Node {
	b.model.Layers[len(b.model.Layers)-1].Out = out
	return out
}

func (b *Builder) layer() int { return len(b.model.Layers) - 1 }

// leaf adds a leaf whose full name must be new.
func (b *Builder) leaf(name string, t Type) *G.Node {
	if b.err == nil && b.names[name] {
		b.err = fmt.Errorf("graph: two leaves named %q", name)
	}
	if b.err != nil {
		return nil
	}
	b.names[name] = true
	return leaf(b.model.Graph, name, t)
}

// Input adds an input of the given element type and shape.
func (b *Builder) Input(name string, dtype tensor.Dtype, shape ...int) *G.Node {
	n := b.leaf(name, Type{dtype, shape})
	b.model.Inputs = append(b.model.Inputs, &Input{Name: name, Node: n})
	return n
}

// Scalar adds a scalar input of the model's element type.
func (b *Builder) Scalar(name string) *G.Node { return b.Input(name, b.dtype) }

// State adds a leaf that persists, of the model's element type.
func (b *Builder) State(name string, shape ...int) *State {
	s := &State{Name: b.prefix + name, Node: b.leaf(b.prefix+name, Type{b.dtype, shape})}
	b.model.States = append(b.model.States, s)
	return s
}

// Param adds a parameter whose stored shape is the same as shape.
func (b *Builder) Param(name string, init Init, shape ...int) *G.Node {
	return b.ParamAs(name, init, shape, shape)
}

// ParamAs adds a parameter that checkpoints hold in another shape.
func (b *Builder) ParamAs(name string, init Init, shape, stored []int) *G.Node {
	t := Type{b.dtype, shape}
	if b.err == nil && t.Size() != (Type{Shape: stored}).Size() {
		b.err = fmt.Errorf("graph: parameter %s: shape %v and stored shape %v differ in size", b.prefix+name, shape, stored)
	}
	n := b.leaf(b.prefix+name, t)
	b.model.Params = append(b.model.Params, &Param{
		Name: b.prefix + name, Node: n, Shape: shape, Stored: stored, Init: init, Layer: b.layer(),
	})
	return n
}

// Split says that dimension dim of a parameter is one that the ranks of tensor
// parallelism share: heads, the inner width, or the vocabulary, along which the
// layer computes each part without the others.
func (b *Builder) Split(param *G.Node, dim int) {
	for _, p := range b.model.Params {
		if b.err == nil && p.Node == param {
			p.split = 1 + dim
			return
		}
	}
	b.Fail(errors.New("graph: Split of what is no parameter"))
}

// Apply adds an operation.
func (b *Builder) Apply(name string, s Spec, in ...*G.Node) *G.Node {
	if b.err != nil {
		return nil
	}
	for i, n := range in {
		if n == nil {
			b.err = fmt.Errorf("graph: %s%s: operand %d is missing", b.prefix, name, i)
			return nil
		}
	}
	n, err := Apply(s, Tag{Layer: b.layer(), Name: b.prefix + name}, in...)
	b.err = err
	return n
}

// Side returns side output k of n.
func (b *Builder) Side(n *G.Node, k int) *G.Node {
	if b.err != nil {
		return nil
	}
	s, err := Side(n, k)
	b.err = err
	return s
}

// Dropout applies dropout with probability p, drawing from rng; x itself where
// p is 0.
func (b *Builder) Dropout(name string, p float64, x, rng *G.Node) *G.Node {
	if p == 0 {
		return x
	}
	b.sites++
	return b.Apply(name, Dropout{P: p, Site: b.sites}, x, rng)
}

// Logits ends the model with its logits.
func (b *Builder) Logits(n *G.Node) *G.Node {
	b.model.Logits = n
	return n
}

// Loss ends the model with a scalar loss.
func (b *Builder) Loss(n *G.Node) {
	if b.err == nil && len(n.Shape()) != 0 {
		b.err = errors.New("graph: the loss is not a scalar")
	}
	b.model.Loss = n
}
