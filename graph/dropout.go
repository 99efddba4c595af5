package graph

import (
	"fmt"
	"slices"

	G "gorgonia.org/gorgonia"
)

// RNGWords is the size of the random state operand: the low and high words of
// the seed, the step, the row of the batch that the micro-batch of all ranks
// begins with, and 1 to drop or 0 to keep everything, as evaluation does.
const RNGWords = 5

// Dropout zeroes elements with probability P and scales the others by
// 1/(1-P). Operands: x [B, ...] and the random state [RNGWords] int32.
//
// Whether an element is kept depends only on seed, step, Site and the
// element's index in the whole tensor of the whole batch, so recomputation,
// micro-batches and any partition draw the same numbers: element e takes word
// e%4 of Philox(key: seed, counter: e/4 (two words), Site, step) and is kept if
// that word is at least P * 2^32.
type Dropout struct {
	P     float64 // in [0, 1)
	Site  int     // unique in the model
	Parts []Part  // how x is cut out of the micro-batch of all ranks; nil: whole
}

// Kind is "dropout".
func (Dropout) Kind() string { return "dropout" }

// Infer checks P and the random state.
func (s Dropout) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 2, 2); err != nil {
		return Type{}, nil, err
	}
	if in[0].Dims() == 0 {
		return Type{}, nil, fmt.Errorf("needs rows, has %v", in[0])
	}
	if s.P < 0 || s.P >= 1 {
		return Type{}, nil, fmt.Errorf("probability %g is not in [0, 1)", s.P)
	}
	if err := ints("random state", in[1]); err != nil {
		return Type{}, nil, err
	}
	return in[0], nil, shaped("random state", in[1], RNGWords)
}

// Place notes how x is cut.
func (s Dropout) Place(out []Part, _ [][]Part) Spec {
	s.Parts = nil
	if slices.ContainsFunc(out, func(p Part) bool { return p.Count > 1 }) {
		s.Parts = out
	}
	return s
}

// Part says how x is cut along dimension d.
func (s Dropout) Part(d int) Part {
	if d < len(s.Parts) {
		return s.Parts[d]
	}
	return Part{}
}

// Threshold is the least random word that keeps an element.
func (s Dropout) Threshold() uint32 { return uint32(s.P * (1 << 32)) }

// Eval draws a word for each element.
func (s Dropout) Eval(e *Eval) error {
	var state [RNGWords]uint32
	for i, v := range e.In[1].Data {
		state[i] = uint32(int32(v))
	}
	x := e.In[0]
	if state[4] == 0 {
		copy(e.Out.Data, x.Data)
		return nil
	}
	row := 1
	for d, size := range x.Shape[1:] {
		row *= s.Part(d + 1).Whole(size)
	}
	first := uint64(state[3]) * uint64(row)
	for i, v := range x.Data {
		index := first + uint64(position(x.Shape, s.Parts, i))
		block := index / 4
		words := Philox([2]uint32{state[0], state[1]}, [4]uint32{uint32(block), uint32(block >> 32), uint32(s.Site), state[2]})
		if words[index%4] >= s.Threshold() {
			e.Out.Data[i] = v / (1 - s.P)
		}
	}
	return nil
}

// Wrt is true for x.
func (Dropout) Wrt(int) []bool { return []bool{true, false} }

// Grad drops the same elements of dy.
func (s Dropout) Grad(g *Gradient) []*G.Node {
	return []*G.Node{g.Apply(s, g.Dy, g.In[1]), nil}
}
