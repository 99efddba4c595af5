package graph

import (
	"fmt"
	"math"

	G "gorgonia.org/gorgonia"
)

// Function names an elementwise function of one variable.
type Function string

// The activation functions. GELU is Hendrycks and Gimpel's (2016), exact by
// the error function or in the approximation by tanh that GPT-2 uses.
const (
	GELUTanh Function = "gelu_tanh"
	GELUErf  Function = "gelu_erf"
	SiLU     Function = "silu"
)

// Value and slope of each function.
var functions = map[Function]struct{ f, df func(x float64) float64 }{
	GELUTanh: {geluTanh, geluTanhSlope},
	GELUErf: {
		func(x float64) float64 { return x * normalCDF(x) },
		func(x float64) float64 { return normalCDF(x) + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi) },
	},
	SiLU: {
		func(x float64) float64 { return x * sigmoid(x) },
		func(x float64) float64 { s := sigmoid(x); return s + x*s*(1-s) },
	},
}

func normalCDF(x float64) float64 { return 0.5 * (1 + math.Erf(x/math.Sqrt2)) }

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

var geluScale = math.Sqrt(2 / math.Pi)

const geluCubic = 0.044715

func geluTanh(x float64) float64 {
	return 0.5 * x * (1 + math.Tanh(geluScale*(x+geluCubic*x*x*x)))
}

func geluTanhSlope(x float64) float64 {
	t := math.Tanh(geluScale * (x + geluCubic*x*x*x))
	return 0.5*(1+t) + 0.5*x*(1-t*t)*geluScale*(1+3*geluCubic*x*x)
}

// Activation applies F to each element.
type Activation struct {
	F Function
}

// Kind is "activation".
func (Activation) Kind() string { return "activation" }

// Infer gives x's type.
func (s Activation) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 1, 1); err != nil {
		return Type{}, nil, err
	}
	if _, ok := functions[s.F]; !ok {
		return Type{}, nil, fmt.Errorf("unknown function %q", s.F)
	}
	return in[0], nil, floats(in...)
}

// Eval applies F.
func (s Activation) Eval(e *Eval) error {
	f := functions[s.F].f
	for i, x := range e.In[0].Data {
		e.Out.Data[i] = f(x)
	}
	return nil
}

// Wrt is true.
func (Activation) Wrt(int) []bool { return []bool{true} }

// Grad multiplies dy by the slope at x.
func (s Activation) Grad(g *Gradient) []*G.Node {
	return []*G.Node{g.Apply(ActivationGrad(s), g.In[0], g.Dy)}
}

// ActivationGrad is dx = dy * F'(x): operands x, dy.
type ActivationGrad Activation

// Kind is "activation_grad".
func (ActivationGrad) Kind() string { return "activation_grad" }

// Infer gives x's type.
func (ActivationGrad) Infer(in []Type) (Type, []Type, error) { return in[0], nil, nil }

// Eval multiplies.
func (s ActivationGrad) Eval(e *Eval) error {
	df := functions[s.F].df
	for i, x := range e.In[0].Data {
		e.Out.Data[i] = e.In[1].Data[i] * df(x)
	}
	return nil
}

// Add is the elementwise sum of two tensors of one shape: the residual
// connection.
type Add struct{}

// Kind is "add".
func (Add) Kind() string { return "add" }

// Infer checks that the shapes are equal.
func (Add) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 2, 2); err != nil {
		return Type{}, nil, err
	}
	if err := floats(in...); err != nil {
		return Type{}, nil, err
	}
	return in[0], nil, shaped("second operand", in[1], in[0].Shape...)
}

// Eval adds.
func (Add) Eval(e *Eval) error {
	for i, x := range e.In[0].Data {
		e.Out.Data[i] = x + e.In[1].Data[i]
	}
	return nil
}

// Wrt is true for both operands.
func (Add) Wrt(int) []bool { return []bool{true, true} }

// Grad passes dy to both operands.
func (Add) Grad(g *Gradient) []*G.Node { return []*G.Node{g.Dy, g.Dy} }
