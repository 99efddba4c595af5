package graph

import (
	"fmt"
	"math"
	"slices"

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
//
// The logits may be a part of the vocabulary: then a fourth operand gives the
// LogSumExp of all parts, [parts, B, T], and the result is the loss of those
// positions whose target is in this part, as in Shoeybi et al.: Megatron-LM
// (2019), section 3.
type CrossEntropy struct {
	Vocab Part // that the logits are of the vocabulary
}

// Kind is "cross_entropy".
func (CrossEntropy) Kind() string { return "cross_entropy" }

// Infer checks targets and denominators against logits.
func (s CrossEntropy) Infer(in []Type) (Type, []Type, error) {
	operands, parts := 3, s.Vocab.Whole(1)
	if parts > 1 {
		operands = 4
	}
	if err := arity(in, operands, operands); err != nil {
		return Type{}, nil, err
	}
	logits, targets, scale := in[0], in[1], in[2]
	if err := floats(append([]Type{logits, scale}, in[3:]...)...); err != nil {
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
	if parts > 1 {
		if err := shaped("log-sum-exp of all parts", in[3], parts, logits.Shape[0], logits.Shape[1]); err != nil {
			return Type{}, nil, err
		}
	}
	return logits.like(), []Type{logits.like(logits.Rows(1))}, nil
}

// Place notes which part of the vocabulary the logits are.
func (CrossEntropy) Place(_ []Part, in [][]Part) Spec { return CrossEntropy{Vocab: in[0][2].part()} }

// Eval sums the losses.
func (s CrossEntropy) Eval(e *Eval) error {
	logits, targets := e.In[0], e.In[1].Data
	V := logits.Cols(1)
	var sum float64
	for r, target := range targets {
		row := logits.Data[r*V : (r+1)*V]
		lse := logSumExp(row)
		if len(e.In) > 3 {
			lse = logSumExp(column(e.In[3].Data, r, len(targets)))
		}
		e.Side[0].Data[r] = lse
		if target == IgnoreIndex {
			continue
		}
		if whole := s.Vocab.Whole(V); target < 0 || int(target) >= whole {
			return fmt.Errorf("target %d at position %d is outside the vocabulary of %d", int(target), r, whole)
		}
		if j := int(target) - s.Vocab.First(V); 0 <= j && j < V {
			sum += lse - row[j]
		}
	}
	e.Out.Data[0] = sum * e.In[2].Data[0]
	return nil
}

// logSumExp is the logarithm of the sum of exp(x).
func logSumExp(x []float64) float64 {
	most := slices.Max(x)
	var sum float64
	for _, v := range x {
		sum += math.Exp(v - most)
	}
	return most + math.Log(sum)
}

// column is column c of a matrix of that many columns.
func column(x []float64, c, columns int) []float64 {
	var col []float64
	for i := c; i < len(x); i += columns {
		col = append(col, x[i])
	}
	return col
}

// Wrt is true for the logits.
func (CrossEntropy) Wrt(n int) []bool { return []bool{true, false, false, false}[:n] }

// Grad gives (softmax - onehot) scale dy.
func (s CrossEntropy) Grad(g *Gradient) []*G.Node {
	d := g.Apply(CrossEntropyGrad(s), g.In[0], g.In[1], g.In[2], g.Side(g.Out, 0), g.Dy)
	return []*G.Node{d, nil, nil, nil}[:len(g.In)]
}

// CrossEntropyGrad is the logits' gradient: operands logits, targets, scale,
// lse of the whole vocabulary, dy, the last a scalar.
type CrossEntropyGrad CrossEntropy

// Kind is "cross_entropy_grad".
func (CrossEntropyGrad) Kind() string { return "cross_entropy_grad" }

// Infer gives the logits' type.
func (CrossEntropyGrad) Infer(in []Type) (Type, []Type, error) { return in[0], nil, nil }

// Eval writes zero rows where the target is ignored.
func (s CrossEntropyGrad) Eval(e *Eval) error {
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
		if j := int(target) - s.Vocab.First(V); 0 <= j && j < V {
			e.Out.Data[r*V+j] -= scale
		}
	}
	return nil
}

// LogSumExp is the logarithm of each row's sum of exponentials: logits
// [B, T, V] to [1, B, T], a form that an all-gather joins to [parts, B, T]. It
// has no gradient: that of CrossEntropy covers it.
type LogSumExp struct{}

// Kind is "log_sum_exp".
func (LogSumExp) Kind() string { return "log_sum_exp" }

// Infer checks logits [B, T, V].
func (LogSumExp) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 1, 1); err != nil {
		return Type{}, nil, err
	}
	if err := floats(in...); err != nil {
		return Type{}, nil, err
	}
	if in[0].Dims() != 3 {
		return Type{}, nil, fmt.Errorf("needs logits [B T V], has %v", in[0])
	}
	return in[0].like(1, in[0].Shape[0], in[0].Shape[1]), nil, nil
}

// Eval goes row by row.
func (LogSumExp) Eval(e *Eval) error {
	V := e.In[0].Cols(1)
	for r := range e.Out.Data {
		e.Out.Data[r] = logSumExp(e.In[0].Data[r*V : (r+1)*V])
	}
	return nil
}
