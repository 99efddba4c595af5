package exec

import (
	"math"

	"github.com/galvani-ml/galvani/graph"
	"gorgonia.org/tensor"
)

// Reference makes a kernel of the operation's own Eval: float64, on one thread,
// with memory allocated at every run, so right and slow. It is for operations
// that have no kernel yet, and for tests of those that have.
func Reference(c Call) (*Kernel, error) {
	if _, ok := c.Spec.(Fused); ok {
		return nil, ErrNotFused
	}
	var adds []int
	for k, t := range c.Out {
		if t.IsFloat() {
			adds = append(adds, k)
		}
	}
	return &Kernel{Adds: adds, Run: func(a *Args) error {
		e := &graph.Eval{Name: c.Tag.Name}
		for i, t := range c.In {
			if t.Dtype == tensor.Int32 {
				e.In = append(e.In, graph.Operand{Type: t, Data: widen(a.Ints[i])})
			} else {
				e.In = append(e.In, graph.Operand{Type: t, Data: widen(a.In[i])})
			}
		}
		var out []graph.Operand
		for _, t := range c.Out {
			out = append(out, graph.Operand{Type: t, Data: make([]float64, t.Size())})
		}
		e.Out, e.Side = out[0], out[1:]
		if err := c.Spec.Eval(e); err != nil {
			return err
		}
		for k, o := range out {
			narrowTo(a.Out[k], o, k < len(a.Add) && a.Add[k])
		}
		return nil
	}}, nil
}

func widen[T float32 | int32](x []T) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// narrowTo writes x to y, rounded to float32, or adds it; of integers it writes
// the bits.
func narrowTo(y []float32, x graph.Operand, add bool) {
	for i, v := range x.Data {
		switch {
		case x.Dtype == tensor.Int32:
			y[i] = math.Float32frombits(uint32(int32(v)))
		case add:
			y[i] += float32(v)
		default:
			y[i] = float32(v)
		}
	}
}
