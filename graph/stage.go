package graph

import (
	"fmt"
	"strings"

	G "gorgonia.org/gorgonia"
)

// Stage is the part of a model that one rank runs: a local graph whose shapes
// are those of the rank's shards, with sends, receives and collectives where
// it meets the others. [Stage.Differentiate] completes it for training.
type Stage struct {
	Graph  *G.ExprGraph
	Params []*Shard
	Inputs []*Input
	States []*State
	Logits *G.Node // nil unless this stage has the head
	Loss   *G.Node // this rank's part of the loss; nil unless on the last stage
	// Sends are the tokens of what is sent forward, Tokens the leaves that
	// stand for the tokens of what is received.
	Sends, Tokens []*G.Node
	// Seeds are leaves whose value is 1, the gradients that the backward pass
	// starts from.
	Seeds []*G.Node
	// SentGrads are the tokens of the gradients sent back, after Differentiate.
	SentGrads []*G.Node

	copies map[*G.Node]*G.Node // what is computed again, and its copy
}

// Shard is a rank's part of a parameter.
type Shard struct {
	Param *Param  // the whole parameter; its Node is in the model's graph
	Node  *G.Node // leaf in the stage's graph
	Grad  *G.Node // after Differentiate
	// Parts is how the shard is cut out of the whole: along each dimension,
	// part Index of Count.
	Parts []Part
	// SumOver names the axes over which the gradient is partial, and last the
	// [TiedGroup] of a parameter that several stages hold.
	SumOver []string
}

// tied begins the names of groups whose ranks run different stages.
const tied = "tied."

// TiedGroup names the group of the ranks that hold parameter number i of those
// that several pipeline stages hold.
func TiedGroup(i int) string { return fmt.Sprint(tied, i) }

// AcrossStages reports whether the ranks of a group run different stages, so
// that they do not reach an instruction together.
func AcrossStages(group string) bool { return strings.HasPrefix(group, tied) }

// Part is one of Count equal parts of a dimension.
type Part struct{ Index, Count int }

// Whole returns the model as one stage, not partitioned.
func Whole(m *Model) *Stage {
	s := &Stage{Graph: m.Graph, Inputs: m.Inputs, States: m.States, Logits: m.Logits, Loss: m.Loss}
	for _, p := range m.Params {
		s.Params = append(s.Params, &Shard{Param: p, Node: p.Node, Parts: make([]Part, len(p.Shape))})
	}
	return s
}

// Differentiate adds the backward graph: the gradients of loss and of all that
// is sent, with respect to the parameters and all that was received. It may be
// called once. A *[GradientError] says which operation has no gradient.
func (s *Stage) Differentiate() error {
	outs := append([]*G.Node{}, s.Sends...)
	if s.Loss != nil {
		outs = append(outs, s.Loss)
	}
	if len(outs) == 0 {
		return fmt.Errorf("graph: a stage without loss or sends has no gradient")
	}
	var wrt G.Nodes
	for _, p := range s.Params {
		wrt = append(wrt, p.Node)
	}
	wrt = append(wrt, s.Tokens...)
	if err := checkDifferentiable(outs, wrt); err != nil {
		return err
	}
	seeds, err := s.seeds(outs)
	if err != nil {
		return err
	}
	grads, err := G.Backpropagate(outs, seeds, wrt)
	if err != nil {
		return fmt.Errorf("graph: differentiating: %w", err)
	}
	for i, p := range s.Params {
		p.Grad = grads[i]
	}
	s.SentGrads = grads[len(s.Params):]
	return nil
}

// seeds makes the leaf that starts the backward pass of each output.
func (s *Stage) seeds(outs []*G.Node) (G.Nodes, error) {
	var seeds G.Nodes
	for i, out := range outs {
		n, err := NewLeaf(s.Graph, fmt.Sprintf("seed.%d", i), TypeOf(out))
		if err != nil {
			return nil, err
		}
		seeds = append(seeds, n)
	}
	s.Seeds = seeds
	return seeds, nil
}

// Roots returns what the forward pass computes and what the backward pass
// computes.
func (s *Stage) Roots() (forward, backward []*G.Node) {
	forward = append(forward, s.Sends...)
	for _, n := range []*G.Node{s.Logits, s.Loss} {
		if n != nil {
			forward = append(forward, n)
		}
	}
	for _, st := range s.States {
		if st.Next != nil {
			forward = append(forward, st.Next)
		}
	}
	for _, p := range s.Params {
		if p.Grad != nil {
			backward = append(backward, p.Grad)
		}
	}
	return forward, append(backward, s.SentGrads...)
}
