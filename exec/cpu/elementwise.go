package cpu

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// Value and slope of each activation function, and its name as an epilogue.
var functions = map[graph.Function]struct {
	value func(p *kernel.Pool, y, x []float32)
	slope func(p *kernel.Pool, dx, dy, x []float32)
	fused kernel.Function
}{
	graph.GELUTanh: {kernel.GELUTanh, kernel.GELUTanhGrad, kernel.GELUTanhFunction},
	graph.GELUErf:  {kernel.GELUErf, kernel.GELUErfGrad, kernel.GELUErfFunction},
	graph.SiLU:     {kernel.SiLU, kernel.SiLUGrad, kernel.SiLUFunction},
}

func activation(p *kernel.Pool, s graph.Activation, _ exec.Call) (*exec.Kernel, error) {
	f, ok := functions[s.F]
	if !ok {
		return nil, fmt.Errorf("no kernel for the function %q", s.F)
	}
	return &exec.Kernel{InPlace: []int{0}, Narrows: []int{0}, Run: func(a *exec.Args) error {
		if y := words(a.Out16, 0); y != nil {
			kernel.ActivationBF16(p, y, f.fused, a.In[0])
			return nil
		}
		f.value(p, a.Out[0], a.In[0])
		return nil
	}}, nil
}

func activationGrad(p *kernel.Pool, s graph.ActivationGrad, _ exec.Call) (*exec.Kernel, error) {
	f, ok := functions[s.F]
	if !ok {
		return nil, fmt.Errorf("no kernel for the gradient of the function %q", s.F)
	}
	return &exec.Kernel{InPlace: []int{0, 1}, Run: func(a *exec.Args) error {
		f.slope(p, a.Out[0], a.In[1], a.In[0])
		return nil
	}}, nil
}

func add(p *kernel.Pool, _ graph.Add, _ exec.Call) (*exec.Kernel, error) {
	return &exec.Kernel{InPlace: []int{0, 1}, Run: func(a *exec.Args) error {
		kernel.Add(p, a.Out[0], a.In[0], a.In[1])
		return nil
	}}, nil
}

// addBias adds a bias, of one dimension or more, to each row.
func addBias(p *kernel.Pool, _ graph.AddBias, c exec.Call) (*exec.Kernel, error) {
	cols := c.In[1].Size()
	rows := 0
	if cols > 0 {
		rows = c.In[0].Size() / cols
	}
	return &exec.Kernel{InPlace: []int{0}, Run: func(a *exec.Args) error {
		kernel.BiasAdd(p, a.Out[0], a.In[0], a.In[1], rows, cols)
		return nil
	}}, nil
}

func assign(p *kernel.Pool, _ exec.Assign, _ exec.Call) (*exec.Kernel, error) {
	return &exec.Kernel{Adds: []int{0}, Run: func(a *exec.Args) error {
		if a.Add[0] {
			kernel.Accumulate(p, a.Out[0], a.In[0], 1)
		} else {
			copy(a.Out[0], a.In[0])
		}
		return nil
	}}, nil
}

func dropout(p *kernel.Pool, s graph.Dropout, c exec.Call) (*exec.Kernel, error) {
	args := draw(s, c.In[0])
	return &exec.Kernel{InPlace: []int{0}, Run: func(a *exec.Args) error {
		if a.Ints[1][4] == 0 {
			copy(a.Out[0], a.In[0])
			return nil
		}
		kernel.Dropout(p, a.Out[0], a.In[0], args(a.Ints[1]))
		return nil
	}}, nil
}

// draw gives what s draws for an operand of type x, from the random state.
func draw(s graph.Dropout, x graph.Type) func(state []int32) kernel.DropoutArgs {
	cut, first, row := cutOf(s, x.Shape)
	return func(state []int32) kernel.DropoutArgs {
		args := kernel.DropoutArgs{
			P:     s.P,
			Seed:  uint64(uint32(state[0])) | uint64(uint32(state[1]))<<32,
			Step:  uint32(state[2]),
			Site:  uint32(s.Site),
			First: uint64(uint32(state[3]))*row + first,
			Cut:   cut,
		}
		if state[4] == 0 {
			args.P = 0
		}
		return args
	}
}

// cutOf is how what s drops lies in the whole micro-batch: its cut, the index of
// its first element, and the size of a whole row. Dimensions that step as one
// are joined.
func cutOf(s graph.Dropout, shape []int) (cut kernel.Cut, first, row uint64) {
	stride, run, whole := uint64(1), 1, true
	var steps []kernel.Step // innermost first
	for d := len(shape) - 1; d >= 0; d-- {
		size, part := shape[d], s.Part(d)
		row = stride
		first += uint64(part.First(size)) * stride
		last := len(steps) - 1
		switch {
		case whole:
			run *= size
		case last >= 0 && steps[last].Stride*uint64(steps[last].Count) == stride:
			steps[last].Count *= size
		default:
			steps = append(steps, kernel.Step{Count: size, Stride: stride})
		}
		whole = whole && part.Whole(size) == size
		stride *= uint64(part.Whole(size))
	}
	if len(steps) > 0 {
		slices.Reverse(steps)
		cut = kernel.Cut{Run: run, Steps: steps}
	}
	return cut, first, row
}

// slice copies this rank's part along a dimension.
func slice(_ *kernel.Pool, s graph.Slice, c exec.Call) (*exec.Kernel, error) {
	out, whole := c.Out[0], c.In[0]
	inner, stride := out.Cols(out.Dims()-s.Dim), whole.Cols(whole.Dims()-s.Dim)
	return &exec.Kernel{Run: func(a *exec.Args) error {
		for i, from := 0, s.Axis.Rank*inner; i < len(a.Out[0]); i, from = i+inner, from+stride {
			copy(a.Out[0][i:i+inner], a.In[0][from:])
		}
		return nil
	}}, nil
}
