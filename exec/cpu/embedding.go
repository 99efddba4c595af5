package cpu

import (
	"fmt"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// embedding refuses ids outside the table: a kernel would give NaN.
func embedding(p *kernel.Pool, _ graph.Embedding, c exec.Call) (*exec.Kernel, error) {
	vocab, cols := c.In[1].Shape[0], c.In[1].Shape[1]
	return &exec.Kernel{Run: func(a *exec.Args) error {
		for i, id := range a.Ints[0] {
			if id < 0 || int(id) >= vocab {
				return fmt.Errorf("token id %d at position %d is outside the vocabulary of %d", id, i, vocab)
			}
		}
		kernel.Embedding(p, a.Out[0], a.In[1], a.Ints[0], vocab, cols)
		return nil
	}}, nil
}

func embeddingGrad(p *kernel.Pool, s graph.EmbeddingGrad, c exec.Call) (*exec.Kernel, error) {
	cols := c.Out[0].Shape[1]
	return &exec.Kernel{Adds: []int{0}, Run: func(a *exec.Args) error {
		kernel.EmbeddingGrad(p, a.Out[0], a.In[1], a.Ints[0], s.Rows, cols, a.Add[0])
		return nil
	}}, nil
}

// addPosition adds the table's rows from start on.
func addPosition(p *kernel.Pool, _ graph.AddPosition, c exec.Call) (*exec.Kernel, error) {
	x, rows := c.In[0], c.In[1].Shape[0]
	B, T, C := x.Shape[0], x.Shape[1], x.Shape[2]
	moved := len(c.In) == 3
	return &exec.Kernel{InPlace: []int{0}, Run: func(a *exec.Args) error {
		start := 0
		if moved {
			start = int(a.Ints[2][0])
		}
		if start < 0 || start+T > rows {
			return fmt.Errorf("positions %d to %d are outside the table of %d", start, start+T-1, rows)
		}
		kernel.PositionAdd(p, a.Out[0], a.In[0], a.In[1][start*C:], B, T, C)
		return nil
	}}, nil
}

// positionGrad sums over the batch; rows past the sequence get nothing.
func positionGrad(p *kernel.Pool, _ graph.PositionGrad, c exec.Call) (*exec.Kernel, error) {
	B, T, C := c.In[0].Shape[0], c.In[0].Shape[1], c.In[0].Shape[2]
	return &exec.Kernel{Adds: []int{0}, Run: func(a *exec.Args) error {
		kernel.PositionGrad(p, a.Out[0], a.In[0], B, T, C, a.Add[0])
		if !a.Add[0] {
			clear(a.Out[0][T*C:])
		}
		return nil
	}}, nil
}
