package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
)

// Embedding looks up rows of a table: ids [B, T] int32, table [V, C] to
// [B, T, C]. The table may be a part of the vocabulary; ids of other parts then
// give zeros, and the sum over all parts is the whole look-up, as in Shoeybi et
// al.: Megatron-LM (2019), section 3.
type Embedding struct {
	Vocab Part // that the table is of the vocabulary
}

// Kind is "embedding".
func (Embedding) Kind() string { return "embedding" }

// Infer checks ids [B, T] and table [V, C].
func (Embedding) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 2, 2); err != nil {
		return Type{}, nil, err
	}
	ids, table := in[0], in[1]
	if err := ints("ids", ids); err != nil {
		return Type{}, nil, err
	}
	if ids.Dims() != 2 || table.Dims() != 2 || !table.IsFloat() {
		return Type{}, nil, fmt.Errorf("needs ids [B T] and a table [V C], has %v and %v", ids, table)
	}
	return table.like(ids.Shape[0], ids.Shape[1], table.Shape[1]), nil, nil
}

// Place notes which part of the vocabulary the table is.
func (s Embedding) Place(_ []Part, in [][]Part) Spec { return Embedding{Vocab: in[1][0].part()} }

// Eval copies the rows.
func (s Embedding) Eval(e *Eval) error {
	ids, table := e.In[0], e.In[1]
	rows, width := table.Shape[0], table.Shape[1]
	for i, id := range ids.Data {
		if whole := s.Vocab.Whole(rows); id < 0 || int(id) >= whole {
			return fmt.Errorf("token id %d at position %d is outside the vocabulary of %d", int(id), i, whole)
		}
		if row := int(id) - s.Vocab.First(rows); 0 <= row && row < rows {
			copy(e.Out.Data[i*width:(i+1)*width], table.Data[row*width:])
		}
	}
	return nil
}

// Wrt is true for the table.
func (Embedding) Wrt(int) []bool { return []bool{false, true} }

// Grad adds each position's gradient to its row.
func (s Embedding) Grad(g *Gradient) []*G.Node {
	rows := g.In[1].Shape()[0]
	return []*G.Node{nil, g.Apply(EmbeddingGrad{Rows: rows, Vocab: s.Vocab}, g.In[0], g.Dy)}
}

// EmbeddingGrad is the table's gradient: ids [B, T], dy [B, T, C] to [V, C].
type EmbeddingGrad struct {
	Rows  int  // V
	Vocab Part // that these rows are of the vocabulary
}

// Kind is "embedding_grad".
func (EmbeddingGrad) Kind() string { return "embedding_grad" }

// Infer gives [V, C].
func (s EmbeddingGrad) Infer(in []Type) (Type, []Type, error) {
	return in[1].like(s.Rows, in[1].Shape[2]), nil, nil
}

// Eval scatters and adds the rows of the table's part.
func (s EmbeddingGrad) Eval(e *Eval) error {
	ids, dy := e.In[0], e.In[1]
	width := dy.Shape[2]
	for i, id := range ids.Data {
		if row := int(id) - s.Vocab.First(s.Rows); 0 <= row && row < s.Rows {
			axpy(e.Out.Data[row*width:], 1, dy.Data[i*width:(i+1)*width])
		}
	}
	return nil
}

// AddPosition adds learned positions: x [B, T, C], table [P, C] with P >= T,
// and optionally the position of the first token, start [1] int32 (0 without).
// x may be a part of the sequence, table and start belong to the whole.
type AddPosition struct {
	Seq Part // that x is of the sequence
}

// Kind is "add_position".
func (AddPosition) Kind() string { return "add_position" }

// Infer checks x [B, T, C] and table [P, C].
func (s AddPosition) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 2, 3); err != nil {
		return Type{}, nil, err
	}
	x, table := in[0], in[1]
	if err := floats(x, table); err != nil {
		return Type{}, nil, err
	}
	if x.Dims() != 3 || table.Dims() != 2 || x.Shape[2] != table.Shape[1] {
		return Type{}, nil, fmt.Errorf("needs x [B T C] and a table [P C], has %v and %v", x, table)
	}
	if whole := s.Seq.Whole(x.Shape[1]); whole > table.Shape[0] {
		return Type{}, nil, fmt.Errorf("sequence of %d tokens is longer than the model's %d positions", whole, table.Shape[0])
	}
	if len(in) == 3 {
		if err := ints("start", in[2]); err != nil {
			return Type{}, nil, err
		}
	}
	return x, nil, nil
}

// Place notes which part of the sequence x is.
func (AddPosition) Place(_ []Part, in [][]Part) Spec { return AddPosition{Seq: in[0][1].part()} }

// Eval adds row start+t of the table to each sequence's token t.
func (s AddPosition) Eval(e *Eval) error {
	x, table := e.In[0], e.In[1]
	T, C := x.Shape[1], x.Shape[2]
	start := firstPosition(s.Seq, T, e.In[2:])
	if start < 0 || start+T > table.Shape[0] {
		return fmt.Errorf("positions %d to %d are outside the table of %d", start, start+T-1, table.Shape[0])
	}
	for i, v := range x.Data {
		t, c := i/C%T, i%C
		e.Out.Data[i] = v + table.Data[(start+t)*C+c]
	}
	return nil
}

// firstPosition is that of the first of T tokens, given the start operand where
// there is one.
func firstPosition(seq Part, T int, start []Operand) int {
	first := seq.First(T)
	if len(start) > 0 {
		first += int(start[0].Data[0])
	}
	return first
}

// Wrt is true for x and the table.
func (AddPosition) Wrt(n int) []bool { return []bool{true, true, false}[:n] }

// Grad passes dy on, and sums it over the batch for the table.
func (s AddPosition) Grad(g *Gradient) []*G.Node {
	rows := g.In[1].Shape()[0]
	in := append([]*G.Node{g.Dy}, g.In[2:]...)
	return []*G.Node{g.Dy, g.Apply(PositionGrad{Rows: rows, Seq: s.Seq}, in...), nil}[:len(g.In)]
}

// PositionGrad is the gradient of a position table: dy [B, T, C], and start
// where AddPosition has it, to [P, C].
type PositionGrad struct {
	Rows int  // P
	Seq  Part // that dy is of the sequence
}

// Kind is "position_grad".
func (PositionGrad) Kind() string { return "position_grad" }

// Infer gives [P, C].
func (s PositionGrad) Infer(in []Type) (Type, []Type, error) {
	return in[0].like(s.Rows, in[0].Shape[2]), nil, nil
}

// Eval sums over the batch; rows of other positions are zero.
func (s PositionGrad) Eval(e *Eval) error {
	dy := e.In[0]
	T, C := dy.Shape[1], dy.Shape[2]
	first := firstPosition(s.Seq, T, e.In[1:]) * C
	for i, v := range dy.Data {
		e.Out.Data[first+i%(T*C)] += v
	}
	return nil
}
