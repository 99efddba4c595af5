package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
	G "gorgonia.org/gorgonia"
)

// SwiGLU is the gated activation y = silu(gate) * up of Shazeer: GLU Variants
// Improve Transformer (2020), where silu(x) = x / (1 + exp(-x)).
//
// Operands: gate and up, of one shape, which is the result's.
type SwiGLU struct{}

// What the operation is asked for, checked by the compiler.
var (
	_ graph.Differentiable = SwiGLU{}
	_ parallel.Ruled       = SwiGLU{}
	_ cpu.Lowerer          = SwiGLU{}
	_ cpu.Lowerer          = SwiGLUGrad{}
)

// Kind names the operation, in errors and profiles.
func (SwiGLU) Kind() string { return "swiglu" }

// Infer checks the operands.
func (SwiGLU) Infer(in []graph.Type) (graph.Type, []graph.Type, error) {
	if len(in) != 2 {
		return graph.Type{}, nil, fmt.Errorf("%d operands, needs gate and up", len(in))
	}
	if !in[0].IsFloat() || in[1].Dtype != in[0].Dtype || !slices.Equal(in[0].Shape, in[1].Shape) {
		return graph.Type{}, nil, fmt.Errorf("gate is %v and up is %v, needs reals of one shape", in[0], in[1])
	}
	return in[0], nil, nil
}

// Eval is the reference.
func (SwiGLU) Eval(e *graph.Eval) error {
	gate, up := e.In[0].Data, e.In[1].Data
	for i, x := range gate {
		e.Out.Data[i] = x * sigmoid(x) * up[i]
	}
	return nil
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// Wrt says that both operands have a gradient.
func (SwiGLU) Wrt(int) []bool { return []bool{true, true} }

// Grad is one operation with two results, of which the second is a side output.
func (SwiGLU) Grad(g *graph.Gradient) []*G.Node {
	dgate := g.Apply(SwiGLUGrad{}, g.In[0], g.In[1], g.Dy)
	return []*G.Node{dgate, g.Side(dgate, 0)}
}

// Rule keeps shards of the batch, of the sequence, and of the inner width, which
// tensor parallelism splits.
func (SwiGLU) Rule(types []graph.Type, at []parallel.Placement) ([]parallel.Placement, parallel.Placement) {
	return parallel.Elementwise(types, at)
}

// grain is how many elements a thread takes at once.
const grain = 4096

// Lower makes the kernel. The result may overwrite either operand, since each
// element is read before it is written.
func (SwiGLU) Lower(p *kernel.Pool, _ exec.Call) (*exec.Kernel, error) {
	return &exec.Kernel{InPlace: []int{0, 1}, Run: func(a *exec.Args) error {
		gate, up, y := a.In[0], a.In[1], a.Out[0]
		p.ForRange(len(y), grain, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				x := gate[i]
				y[i] = x * float32(sigmoid(float64(x))) * up[i]
			}
		})
		return nil
	}}, nil
}

// SwiGLUGrad is dgate = dy * up * silu'(gate) and, as its side output, dup = dy *
// silu(gate): operands gate, up, dy. A gradient needs neither a gradient nor a
// rule.
type SwiGLUGrad struct{}

// Kind names the operation.
func (SwiGLUGrad) Kind() string { return "swiglu_grad" }

// Infer gives both the operands' type.
func (SwiGLUGrad) Infer(in []graph.Type) (graph.Type, []graph.Type, error) {
	return in[0], []graph.Type{in[1]}, nil
}

// Eval is the reference.
func (SwiGLUGrad) Eval(e *graph.Eval) error {
	gate, up, dy := e.In[0].Data, e.In[1].Data, e.In[2].Data
	for i, x := range gate {
		s := sigmoid(x)
		e.Out.Data[i] = dy[i] * up[i] * s * (1 + x*(1-s))
		e.Side[0].Data[i] = dy[i] * x * s
	}
	return nil
}

// Lower makes the kernel.
func (SwiGLUGrad) Lower(p *kernel.Pool, _ exec.Call) (*exec.Kernel, error) {
	return &exec.Kernel{InPlace: []int{0, 1, 2}, Run: func(a *exec.Args) error {
		gate, up, dy := a.In[0], a.In[1], a.In[2]
		dgate, dup := a.Out[0], a.Out[1]
		p.ForRange(len(dgate), grain, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				x, u, d := gate[i], up[i], dy[i]
				s := float32(sigmoid(float64(x)))
				dgate[i], dup[i] = d*u*s*(1+x*(1-s)), d*x*s
			}
		})
		return nil
	}}, nil
}
