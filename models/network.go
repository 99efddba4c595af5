package models

import (
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
)

// network is a graph under construction, with what all its layers need and the
// operations that the models share.
type network struct {
	*graph.Builder
	eps     float64 // of layer norms
	act     graph.Function
	dropout float64

	tokens  *G.Node // [B, T]
	mask    *G.Node // [B, T], nil without padding
	rng     *G.Node // nil without dropout
	targets *G.Node // [B, T], nil without loss
	scale   *G.Node // nil without loss
}

// affine is the weight and bias of a linear layer or a norm. A nil bias is
// none.
type affine struct{ weight, bias *G.Node }

func newNetwork(o Options, eps float64, activation string) network {
	n := network{Builder: graph.NewBuilder(o.Dtype), eps: eps, act: activations[activation], dropout: o.Dropout}
	n.tokens = n.ids(graph.InputTokens, o)
	if o.Mask {
		n.mask = n.ids(graph.InputMask, o)
	}
	if o.Dropout > 0 {
		n.rng = n.Input(graph.InputRNG, tensor.Int32, graph.RNGWords)
	}
	if o.Train {
		n.targets, n.scale = n.ids(graph.InputTargets, o), n.Scalar(graph.InputScale)
	}
	return n
}

// ids adds an input [B, T] of integers.
func (n *network) ids(name string, o Options) *G.Node {
	return n.Input(name, tensor.Int32, o.Batch, o.Seq)
}

// norm is layer normalisation.
func (n *network) norm(name string, x *G.Node, p affine) *G.Node {
	return n.Apply(name, graph.LayerNorm{Eps: n.eps}, x, p.weight, p.bias)
}

// linear is x W + b, by the layout of W.
func (n *network) linear(name string, layout graph.Linear, x *G.Node, p affine) *G.Node {
	if p.bias == nil {
		return n.Apply(name, layout, x, p.weight)
	}
	return n.Apply(name, layout, x, p.weight, p.bias)
}

// activate applies the model's activation function.
func (n *network) activate(name string, x *G.Node) *G.Node {
	return n.Apply(name, graph.Activation{F: n.act}, x)
}

// residual is x + dropout(branch).
func (n *network) residual(name string, x, branch *G.Node) *G.Node {
	branch = n.Dropout(name+".dropout", n.dropout, branch, n.rng)
	return n.Apply(name+".add", graph.Add{}, x, branch)
}

// attention is multi-head attention over qkv, which is packed into one node or
// is three.
func (n *network) attention(name string, s graph.Attention, qkv ...*G.Node) *G.Node {
	if n.mask != nil {
		s.Masked = true
		qkv = append(qkv, n.mask)
	}
	return n.Apply(name, s, qkv...)
}

// finish ends the model with its logits, and its loss when training: the
// cross-entropy of the targets.
func (n *network) finish(logits *G.Node) (*graph.Model, error) {
	n.Logits(logits)
	if n.targets != nil {
		n.Loss(n.Apply("loss", graph.CrossEntropy{}, logits, n.targets, n.scale))
	}
	return n.Model()
}
