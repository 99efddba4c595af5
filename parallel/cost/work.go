package cost

import (
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel/cluster"
)

// Work is what a layer has one rank of its stage do for a micro-batch under a
// strategy, read off the rank's rewritten graph.
type Work struct {
	Ops       []Op
	Exchanges []Exchange
	// States is what stays through a step, in bytes: parameters, gradients, both
	// moments, and what is made of them once a step.
	States int64
	// Params is the number of elements of parameters that the rank holds.
	Params int64
	// Activation is what the forward pass leaves to the backward pass, in bytes.
	Activation int64
	// Measured holds the seconds that the computation takes, where they were
	// measured; else they follow from Ops.
	Measured *Seconds
	// Peak is the most that is alive beside that while the layer's own passes
	// run, in bytes: recomputed activations, gathered parameters, scratch.
	Peak int64
}

// Op sums the operations of one kind in one pass.
type Op struct {
	Kind  string     `json:"kind"` // as "linear"
	Pass  graph.Pass `json:"pass"`
	Again bool       `json:"again,omitempty"` // computed again for the backward pass
	Count int        `json:"count"`
	FLOPs int64      `json:"flops"`
	Bytes int64      `json:"bytes"` // read and written
}

// Exchange is a collective, or a message to another stage, of which the layer
// makes Count alike.
type Exchange struct {
	cluster.Exchange
	Pass  graph.Pass `json:"pass"`
	Count int        `json:"count"`
	Again bool       `json:"again,omitempty"`
	// Once is set where it happens once a step rather than with every
	// micro-batch.
	Once bool `json:"once,omitempty"`
	// Beside is set where the computation need not wait for it: parameters that
	// are gathered a layer ahead, and sums of gradients.
	Beside bool `json:"beside,omitempty"`
}

// Seconds is what the computation of a micro-batch takes, exchanges left out.
type Seconds struct {
	Forward  float64 `json:"forward"`
	Backward float64 `json:"backward"` // with what is computed again
}
