package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
)

// Embedding looks up rows of a table: ids [B, T] int32, table [V, C] to
// [B, T, C].
type Embedding struct{}

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

// Eval copies the rows.
func (Embedding) Eval(e *Eval) error {
	ids, table := e.In[0], e.In[1]
	width := table.Shape[1]
	for i, id := range ids.Data {
		if id < 0 || int(id) >= table.Shape[0] {
			return fmt.Errorf("token id %d at position %d is outside the vocabulary of %d", int(id), i, table.Shape[0])
		}
		copy(e.Out.Data[i*width:(i+1)*width], table.Data[int(id)*width:])
	}
	return nil
}

// Wrt is true for the table.
func (Embedding) Wrt(int) []bool { return []bool{false, true} }

// Grad adds each position's gradient to its row.
func (Embedding) Grad(g *Gradient) []*G.Node {
	rows := g.In[1].Shape()[0]
	return []*G.Node{nil, g.Apply(EmbeddingGrad{Rows: rows}, g.In[0], g.Dy)}
}

// EmbeddingGrad is the table's gradient: ids [B, T], dy [B, T, C] to [V, C].
type EmbeddingGrad struct {
	Rows int // V
}

// Kind is "embedding_grad".
func (EmbeddingGrad) Kind() string { return "embedding_grad" }

// Infer gives [V, C].
func (s EmbeddingGrad) Infer(in []Type) (Type, []Type, error) {
	return in[1].like(s.Rows, in[1].Shape[2]), nil, nil
}

// Eval scatters and adds.
func (s EmbeddingGrad) Eval(e *Eval) error {
	ids, dy := e.In[0], e.In[1]
	width := dy.Shape[2]
	for i, id := range ids.Data {
		row := e.Out.Data[int(id)*width : (int(id)+1)*width]
		for j := range row {
			row[j] += dy.Data[i*width+j]
		}
	}
	return nil
}

// AddPosition adds learned positions: x [B, T, C], table [P, C] with P >= T,
// and optionally the position of the first token, start [1] int32 (0 without).
type AddPosition struct{}

// Kind is "add_position".
func (AddPosition) Kind() string { return "add_position" }

// Infer checks x [B, T, C] and table [P, C].
func (AddPosition) Infer(in []Type) (Type, []Type, error) {
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
	if x.Shape[1] > table.Shape[0] {
		return Type{}, nil, fmt.Errorf("sequence of %d tokens is longer than the model's %d positions", x.Shape[1], table.Shape[0])
	}
	if len(in) == 3 {
		if err := ints("start", in[2]); err != nil {
			return Type{}, nil, err
		}
	}
	return x, nil, nil
}

// Eval adds row start+t of the table to each sequence's token t.
func (AddPosition) Eval(e *Eval) error {
	x, table := e.In[0], e.In[1]
	start := 0
	if len(e.In) == 3 {
		start = int(e.In[2].Data[0])
	}
	T, C := x.Shape[1], x.Shape[2]
	if start < 0 || start+T > table.Shape[0] {
		return fmt.Errorf("positions %d to %d are outside the table of %d", start, start+T-1, table.Shape[0])
	}
	for i, v := range x.Data {
		t, c := i/C%T, i%C
		e.Out.Data[i] = v + table.Data[(start+t)*C+c]
	}
	return nil
}

// Wrt is true for x and the table.
func (AddPosition) Wrt(n int) []bool { return []bool{true, true, false}[:n] }

// Grad passes dy on, and sums it over the batch for the table.
func (AddPosition) Grad(g *Gradient) []*G.Node {
	rows := g.In[1].Shape()[0]
	return []*G.Node{g.Dy, g.Apply(PositionGrad{Rows: rows}, g.Dy), nil}[:len(g.In)]
}

// PositionGrad is the gradient of a position table: dy [B, T, C] to [P, C].
type PositionGrad struct {
	Rows int // P
}

// Kind is "position_grad".
func (PositionGrad) Kind() string { return "position_grad" }

// Infer gives [P, C].
func (s PositionGrad) Infer(in []Type) (Type, []Type, error) {
	return in[0].like(s.Rows, in[0].Shape[2]), nil, nil
}

// Eval sums over the batch; rows past T are zero.
func (PositionGrad) Eval(e *Eval) error {
	dy := e.In[0]
	size := dy.Shape[1] * dy.Shape[2]
	for i, v := range dy.Data {
		e.Out.Data[i%size] += v
	}
	return nil
}
