package cpu

import (
	"fmt"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// crossEntropy refuses targets outside the vocabulary: a kernel would give NaN.
func crossEntropy(p *kernel.Pool, s graph.CrossEntropy, c exec.Call) (*exec.Kernel, error) {
	vocab := vocabulary(s.Vocab, c.In[0].Cols(1))
	return &exec.Kernel{Run: func(a *exec.Args) error {
		for i, t := range a.Ints[1] {
			if t != graph.IgnoreIndex && (t < 0 || int(t) >= vocab.Whole) {
				return fmt.Errorf("target %d at position %d is outside the vocabulary of %d", t, i, vocab.Whole)
			}
		}
		logits, lse := a.In[0], a.Out[1]
		if len(a.In) > 3 {
			kernel.JoinLogSumExp(lse, a.In[3])
		} else {
			kernel.LogSumExp(p, lse, logits, vocab.Size, vocab.Size)
		}
		a.Out[0][0] = float32(kernel.CrossEntropyOf(lse, logits, a.Ints[1], vocab, vocab.Size, float64(a.In[2][0])))
		return nil
	}}, nil
}

func crossEntropyGrad(p *kernel.Pool, s graph.CrossEntropyGrad, c exec.Call) (*exec.Kernel, error) {
	vocab := vocabulary(s.Vocab, c.In[0].Cols(1))
	return &exec.Kernel{InPlace: []int{0}, Run: func(a *exec.Args) error {
		kernel.CrossEntropyGrad(p, a.Out[0], a.In[0], a.In[3], a.Ints[1], vocab, vocab.Size, a.In[2][0]*a.In[4][0])
		return nil
	}}, nil
}

func logSumExp(p *kernel.Pool, _ graph.LogSumExp, c exec.Call) (*exec.Kernel, error) {
	cols := c.In[0].Cols(1)
	return &exec.Kernel{Run: func(a *exec.Args) error {
		kernel.LogSumExp(p, a.Out[0], a.In[0], cols, cols)
		return nil
	}}, nil
}
