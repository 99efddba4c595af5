package graph

import (
	"fmt"
	"math"

	G "gorgonia.org/gorgonia"
)

// IgnoreIndex marks a target that has no loss.
const IgnoreIndex = -100

// CrossEntropy is the softmax cross-entropy: scale times the sum over all
// positions of -log softmax(logits)[target]. Positions whose target is
// IgnoreIndex count nothing. Operands: logits [B, T, V], targets [B, T] int32,
// scale, a scalar. A mean over the whole batch is scale = 1/targets, whatever
// part of the batch this graph sees, so partial losses add up. The side output
// is the logarithm of each row's softmax denominator.
type CrossEntropy struct{}

// Kind is "cross_entropy".
func (CrossEntropy) Kind() string { return "cross_entropy" }

// Infer checks targets against logits.
func (CrossEntropy) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 3, 3); err != nil {
		return Type{}, nil, err
	}
	logits, targets, scale := in[0], in[1], in[2]
	if err := floats(logits, scale); err != nil {
		return Type{}, nil, err
	}
	if err := ints("targets", targets); err != nil {
		return Type{}, nil, err
	}
	if logits.Dims() != 3 || scale.Dims() != 0 {
		return Type{}, nil, fmt.Errorf("needs logits [B T V] and a scalar scale, has %v and %v", logits, scale)
	}
	if err := shaped("targets", targets, logits.Shape[0], logits.Shape[1]); err != nil {
		return Type{}, nil, err
	}
	return logits.like(), []Type{logits.like(logits.Rows(1))}, nil
}

// Eval sums the losses.
func (CrossEntropy) Eval(e *Eval) error {
	logits, targets := e.In[0], e.In[1].Data
	V := logits.Cols(1)
	var sum float64
	for r, target := range targets {
		row := logits.Data[r*V : (r+1)*V]
		most := math.Inf(-1)
		for _, v := range row {
			most = max(most, v)
		}
		var z float64
		for _, v := range row {
			z += math.Exp(v - most)
		}
		lse := most + math.Log(z)
		e.Side[0].Data[r] = lse
		if target == IgnoreIndex {
			continue
		}
		if target < 0 || int(target) >= V {
			return fmt.Errorf("target %d at position %d is outside the vocabulary of %d", int(target), r, V)
		}
		sum += lse - row[int(target)]
	}
	e.Out.Data[0] = sum * e.In[2].Data[0]
	return nil
}

// Wrt is true for the logits.
func (CrossEntropy) Wrt(int) []bool { return []bool{true, false, false} }

// Grad gives (softmax - onehot) scale dy.
func (CrossEntropy) Grad(g *Gradient) []*G.Node {
	d := g.Apply(CrossEntropyGrad{}, g.In[0], g.In[1], g.In[2], g.Side(g.Out, 0), g.Dy)
	return []*G.Node{d, nil, nil}
}

// CrossEntropyGrad is the logits' gradient: operands logits, targets, scale,
// lse, dy, the last a scalar.
type CrossEntropyGrad struct{}

// Kind is "cross_entropy_grad".
func (CrossEntropyGrad) Kind() string { return "cross_entropy_grad" }

// Infer gives the logits' type.
func (CrossEntropyGrad) Infer(in []Type) (Type, []Type, error) { return in[0], nil, nil }

// Eval writes zero rows where the target is ignored.
func (CrossEntropyGrad) Eval(e *Eval) error {
	logits, targets, lse := e.In[0], e.In[1].Data, e.In[3].Data
	scale := e.In[2].Data[0] * e.In[4].Data[0]
	V := logits.Cols(1)
	for r, target := range targets {
		if target == IgnoreIndex {
			continue
		}
		for j := range V {
			e.Out.Data[r*V+j] = scale * math.Exp(logits.Data[r*V+j]-lse[r])
		}
		e.Out.Data[r*V+int(target)] -= scale
	}
	return nil
}
