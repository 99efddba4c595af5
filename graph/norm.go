package graph

import (
	"math"

	G "gorgonia.org/gorgonia"
)

// LayerNorm normalises the last dimension: y = (x - mean) * rstd * gamma +
// beta, rstd = 1/sqrt(variance + Eps), the variance being the biased one.
// Operands x [..., C], gamma [C], beta [C]; side outputs mean and rstd, one
// value a row. Ba, Kiros, Hinton: Layer Normalization (2016).
type LayerNorm struct {
	Eps float64
}

// Kind is "layer_norm".
func (LayerNorm) Kind() string { return "layer_norm" }

// Infer checks gamma and beta against x.
func (LayerNorm) Infer(in []Type) (Type, []Type, error) {
	if err := normOperands(in, 3); err != nil {
		return Type{}, nil, err
	}
	stat := in[0].like(in[0].Rows(1))
	return in[0], []Type{stat, stat}, nil
}

func normOperands(in []Type, n int) error {
	if err := arity(in, n, n); err != nil {
		return err
	}
	if err := floats(in...); err != nil {
		return err
	}
	width := in[0].Cols(1)
	for i, name := range []string{"gamma", "beta"}[:n-1] {
		if err := shaped(name, in[1+i], width); err != nil {
			return err
		}
	}
	return nil
}

// Eval normalises row by row.
func (s LayerNorm) Eval(e *Eval) error {
	x, gamma, beta := e.In[0], e.In[1].Data, e.In[2].Data
	C := x.Cols(1)
	for r := range x.Rows(1) {
		row, out := x.Data[r*C:(r+1)*C], e.Out.Data[r*C:(r+1)*C]
		var sum, sq float64
		for _, v := range row {
			sum += v
		}
		mean := sum / float64(C)
		for _, v := range row {
			sq += (v - mean) * (v - mean)
		}
		rstd := 1 / math.Sqrt(sq/float64(C)+s.Eps)
		for j, v := range row {
			out[j] = (v-mean)*rstd*gamma[j] + beta[j]
		}
		e.Side[0].Data[r], e.Side[1].Data[r] = mean, rstd
	}
	return nil
}

// Wrt is true for all operands.
func (LayerNorm) Wrt(int) []bool { return []bool{true, true, true} }

// Grad gives dx, and dgamma and dbeta as its side outputs.
func (LayerNorm) Grad(g *Gradient) []*G.Node {
	dx := g.Apply(LayerNormGrad{}, g.In[0], g.In[1], g.Side(g.Out, 0), g.Side(g.Out, 1), g.Dy)
	return []*G.Node{dx, g.Side(dx, 0), g.Side(dx, 1)}
}

// LayerNormGrad is dx of LayerNorm, with dgamma and dbeta as side outputs:
// operands x, gamma, mean, rstd, dy.
type LayerNormGrad struct{}

// Kind is "layer_norm_grad".
func (LayerNormGrad) Kind() string { return "layer_norm_grad" }

// Infer gives x's type, and gamma's twice.
func (LayerNormGrad) Infer(in []Type) (Type, []Type, error) {
	return in[0], []Type{in[1], in[1]}, nil
}

// Eval computes dx = rstd * (dy*gamma - mean(dy*gamma) - xhat*mean(dy*gamma*xhat)).
func (LayerNormGrad) Eval(e *Eval) error {
	x, gamma, mean, rstd, dy := e.In[0], e.In[1].Data, e.In[2].Data, e.In[3].Data, e.In[4].Data
	C := x.Cols(1)
	for r := range x.Rows(1) {
		var sum, dot float64
		hat := func(j int) float64 { return (x.Data[r*C+j] - mean[r]) * rstd[r] }
		for j := range C {
			d := dy[r*C+j]
			sum += d * gamma[j]
			dot += d * gamma[j] * hat(j)
			e.Side[0].Data[j] += d * hat(j)
			e.Side[1].Data[j] += d
		}
		for j := range C {
			e.Out.Data[r*C+j] = rstd[r] * (dy[r*C+j]*gamma[j] - sum/float64(C) - hat(j)*dot/float64(C))
		}
	}
	return nil
}

// RMSNorm is y = x * rstd * gamma, rstd = 1/sqrt(mean(x^2) + Eps). Operands x
// [..., C], gamma [C]; side output rstd. Zhang, Sennrich: Root Mean Square
// Layer Normalization (2019).
type RMSNorm struct {
	Eps float64
}

// Kind is "rms_norm".
func (RMSNorm) Kind() string { return "rms_norm" }

// Infer checks gamma against x.
func (RMSNorm) Infer(in []Type) (Type, []Type, error) {
	if err := normOperands(in, 2); err != nil {
		return Type{}, nil, err
	}
	return in[0], []Type{in[0].like(in[0].Rows(1))}, nil
}

// Eval normalises row by row.
func (s RMSNorm) Eval(e *Eval) error {
	x, gamma := e.In[0], e.In[1].Data
	C := x.Cols(1)
	for r := range x.Rows(1) {
		var sq float64
		for _, v := range x.Data[r*C : (r+1)*C] {
			sq += v * v
		}
		rstd := 1 / math.Sqrt(sq/float64(C)+s.Eps)
		for j, v := range x.Data[r*C : (r+1)*C] {
			e.Out.Data[r*C+j] = v * rstd * gamma[j]
		}
		e.Side[0].Data[r] = rstd
	}
	return nil
}

// Wrt is true for both operands.
func (RMSNorm) Wrt(int) []bool { return []bool{true, true} }

// Grad gives dx, and dgamma as its side output.
func (RMSNorm) Grad(g *Gradient) []*G.Node {
	dx := g.Apply(RMSNormGrad{}, g.In[0], g.In[1], g.Side(g.Out, 0), g.Dy)
	return []*G.Node{dx, g.Side(dx, 0)}
}

// RMSNormGrad is dx of RMSNorm, with dgamma as side output: operands x, gamma,
// rstd, dy.
type RMSNormGrad struct{}

// Kind is "rms_norm_grad".
func (RMSNormGrad) Kind() string { return "rms_norm_grad" }

// Infer gives x's type, and gamma's.
func (RMSNormGrad) Infer(in []Type) (Type, []Type, error) { return in[0], []Type{in[1]}, nil }

// Eval computes dx = rstd * (dy*gamma - xhat*mean(dy*gamma*xhat)).
func (RMSNormGrad) Eval(e *Eval) error {
	x, gamma, rstd, dy := e.In[0], e.In[1].Data, e.In[2].Data, e.In[3].Data
	C := x.Cols(1)
	for r := range x.Rows(1) {
		var dot float64
		for j := range C {
			hat := x.Data[r*C+j] * rstd[r]
			dot += dy[r*C+j] * gamma[j] * hat
			e.Side[0].Data[j] += dy[r*C+j] * hat
		}
		for j := range C {
			hat := x.Data[r*C+j] * rstd[r]
			e.Out.Data[r*C+j] = rstd[r] * (dy[r*C+j]*gamma[j] - hat*dot/float64(C))
		}
	}
	return nil
}
