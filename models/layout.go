package models

import (
	G "gorgonia.org/gorgonia"

	"github.com/galvani-ml/galvani/graph"
)

// How biases and the gains of norms start.
var (
	zeros = graph.Init{}
	ones  = graph.Init{Mean: 1}
)

// The layouts of weights: input dimensions first, as GPT-2's Conv1D stores
// them, or last, as PyTorch's Linear does; and whether the input is one
// dimension, C, or the two dimensions H, D.
var (
	inputFirst = graph.Linear{Contract: 1}
	headsFirst = graph.Linear{Contract: 2}
	inputLast  = graph.Linear{Contract: 1, Transposed: true}
	headsLast  = graph.Linear{Contract: 2, Transposed: true}
)

// normParams declares a layer norm over C.
func (n *network) normParams(name string, width int) affine {
	return affine{n.Param(name+".weight", ones, width), n.Param(name+".bias", zeros, width)}
}

// vocabulary declares an embedding [rows, width] that tensor parallelism splits by
// rows.
func (n *network) vocabulary(name string, init graph.Init, rows, width int) *G.Node {
	t := n.Param(name, init, rows, width)
	n.Split(t, 0)
	return t
}

// split says along which dimensions of weight and bias tensor parallelism
// splits a linear layer; the bias is whole where it is added after a sum over
// the parts.
func (n *network) split(p affine, weight int, bias ...int) affine {
	n.Split(p.weight, weight)
	if len(bias) > 0 {
		n.Split(p.bias, bias[0])
	}
	return p
}

// linearParams declares a weight and a bias by their shapes in the graph and
// in checkpoints.
func (n *network) linearParams(name string, init graph.Init, weight, stored, bias []int) affine {
	size := 1
	for _, d := range bias {
		size *= d
	}
	return affine{
		n.ParamAs(name+".weight", init, weight, stored),
		n.ParamAs(name+".bias", zeros, bias, []int{size}),
	}
}
