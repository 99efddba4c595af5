package models

import "github.com/galvani-ml/galvani/graph"

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
