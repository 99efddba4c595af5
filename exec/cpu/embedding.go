package cpu

import (
	"fmt"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// embedding refuses ids outside the table: a kernel would give NaN.
func embedding(p *kernel.Pool, s graph.Embedding, c exec.Call) (*exec.Kernel, error) {
	vocab, cols := vocabulary(s.Vocab, c.In[1].Shape[0]), c.In[1].Shape[1]
	return &exec.Kernel{Run: func(a *exec.Args) error {
		for i, id := range a.Ints[0] {
			if id < 0 || int(id) >= vocab.Whole {
				return fmt.Errorf("token id %d at position %d is outside the vocabulary of %d", id, i, vocab.Whole)
			}
		}
		kernel.Embedding(p, a.Out[0], a.In[1], a.Ints[0], vocab, cols)
		return nil
	}}, nil
}

func embeddingGrad(p *kernel.Pool, s graph.EmbeddingGrad, c exec.Call) (*exec.Kernel, error) {
	vocab, cols := vocabulary(s.Vocab, s.Rows), c.Out[0].Shape[1]
	return &exec.Kernel{Adds: []int{0}, Run: func(a *exec.Args) error {
		kernel.EmbeddingGrad(p, a.Out[0], a.In[1], a.Ints[0], vocab, cols, a.Add[0])
		return nil
	}}, nil
}

// vocabulary is a part of so many rows.
func vocabulary(p graph.Part, rows int) kernel.Vocabulary {
	return kernel.Vocabulary{First: p.First(rows), Size: rows, Whole: p.Whole(rows)}
}

// firstPosition is that of the first of T tokens, given the start operand where
// there is one.
func firstPosition(seq graph.Part, T int, start [][]int32) int {
	first := seq.First(T)
	if len(start) > 0 {
		first += int(start[0][0])
	}
	return first
}

// addPosition adds the table's rows from the first position on.
func addPosition(p *kernel.Pool, s graph.AddPosition, c exec.Call) (*exec.Kernel, error) {
	x, rows := c.In[0], c.In[1].Shape[0]
	B, T, C := x.Shape[0], x.Shape[1], x.Shape[2]
	return &exec.Kernel{InPlace: []int{0}, Run: func(a *exec.Args) error {
		start := firstPosition(s.Seq, T, a.Ints[2:])
		if start < 0 || start+T > rows {
			return fmt.Errorf("positions %d to %d are outside the table of %d", start, start+T-1, rows)
		}
		kernel.PositionAdd(p, a.Out[0], a.In[0], a.In[1][start*C:], B, T, C)
		return nil
	}}, nil
}

// positionGrad sums over the batch; rows of other positions get nothing.
func positionGrad(p *kernel.Pool, s graph.PositionGrad, c exec.Call) (*exec.Kernel, error) {
	B, T, C := c.In[0].Shape[0], c.In[0].Shape[1], c.In[0].Shape[2]
	return &exec.Kernel{Adds: []int{0}, Run: func(a *exec.Args) error {
		start := firstPosition(s.Seq, T, a.Ints[1:])
		if start < 0 || start+T > s.Rows {
			return fmt.Errorf("positions %d to %d are outside the table of %d", start, start+T-1, s.Rows)
		}
		kernel.PositionGrad(p, a.Out[0][start*C:], a.In[0], B, T, C, a.Add[0])
		if !a.Add[0] {
			clear(a.Out[0][:start*C])
			clear(a.Out[0][(start+T)*C:])
		}
		return nil
	}}, nil
}
