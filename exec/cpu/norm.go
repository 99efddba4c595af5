package cpu

import (
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

func layerNorm(p *kernel.Pool, s graph.LayerNorm, c exec.Call) (*exec.Kernel, error) {
	rows, cols := c.In[0].Rows(1), c.In[0].Cols(1)
	return &exec.Kernel{Narrows: []int{0}, Run: func(a *exec.Args) error {
		if y := words(a.Out16, 0); y != nil {
			kernel.LayerNormBF16(p, y, a.Out[1], a.Out[2], a.In[0], a.In[1], a.In[2], rows, cols, s.Eps)
			return nil
		}
		kernel.LayerNorm(p, a.Out[0], a.Out[1], a.Out[2], a.In[0], a.In[1], a.In[2], rows, cols, s.Eps)
		return nil
	}}, nil
}

func rmsNorm(p *kernel.Pool, s graph.RMSNorm, c exec.Call) (*exec.Kernel, error) {
	rows, cols := c.In[0].Rows(1), c.In[0].Cols(1)
	return &exec.Kernel{Narrows: []int{0}, Run: func(a *exec.Args) error {
		if y := words(a.Out16, 0); y != nil {
			kernel.RMSNormBF16(p, y, a.Out[1], a.In[0], a.In[1], rows, cols, s.Eps)
			return nil
		}
		kernel.RMSNorm(p, a.Out[0], a.Out[1], a.In[0], a.In[1], rows, cols, s.Eps)
		return nil
	}}, nil
}

func layerNormGrad(p *kernel.Pool, _ graph.LayerNormGrad, c exec.Call) (*exec.Kernel, error) {
	rows, cols := c.In[0].Rows(1), c.In[0].Cols(1)
	return &exec.Kernel{InPlace: []int{4}, Adds: []int{1, 2}, Run: func(a *exec.Args) error {
		accumulate := addSides(a)
		kernel.LayerNormGrad(p, a.Out[0], a.Out[1], a.Out[2], a.In[4], a.In[0], a.In[1], a.In[2], a.In[3], rows, cols, accumulate)
		return nil
	}}, nil
}

func rmsNormGrad(p *kernel.Pool, _ graph.RMSNormGrad, c exec.Call) (*exec.Kernel, error) {
	rows, cols := c.In[0].Rows(1), c.In[0].Cols(1)
	return &exec.Kernel{InPlace: []int{3}, Adds: []int{1}, Run: func(a *exec.Args) error {
		accumulate := addSides(a)
		kernel.RMSNormGrad(p, a.Out[0], a.Out[1], a.In[3], a.In[0], a.In[1], a.In[2], rows, cols, accumulate)
		return nil
	}}, nil
}

// addSides reports whether the kernel is to add to the side outputs, and
// clears those that it should not add to if it is.
func addSides(a *exec.Args) bool {
	accumulate := false
	for _, add := range a.Add[1:] {
		accumulate = accumulate || add
	}
	if accumulate {
		for i, add := range a.Add[1:] {
			if !add {
				clear(a.Out[1+i])
			}
		}
	}
	return accumulate
}
