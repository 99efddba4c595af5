package kernel

// GELUTanh sets y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the
// approximation of Hendrycks and Gimpel, Gaussian Error Linear Units (2016),
// that GPT-2 uses. It is computed as x sigmoid(2u), u being tanh's argument.
func GELUTanh(p *Pool, y, x []float32) { unary(p, active.Load().geluTanh, y, x) }

// GELUTanhGrad sets dx = dy times the slope of [GELUTanh] at x.
func GELUTanhGrad(p *Pool, dx, dy, x []float32) { binary(p, active.Load().geluTanhGrad, dx, dy, x) }

// GELUErf sets y = x Phi(x) = x/2 (1 + erf(x / sqrt 2)), the exact GELU.
func GELUErf(p *Pool, y, x []float32) { unary(p, active.Load().geluErf, y, x) }

// GELUErfGrad sets dx = dy times the slope of [GELUErf] at x.
func GELUErfGrad(p *Pool, dx, dy, x []float32) { binary(p, active.Load().geluErfGrad, dx, dy, x) }

// SiLU sets y = x sigmoid(x).
func SiLU(p *Pool, y, x []float32) { unary(p, active.Load().silu, y, x) }

// SiLUGrad sets dx = dy times the slope of [SiLU] at x.
func SiLUGrad(p *Pool, dx, dy, x []float32) { binary(p, active.Load().siluGrad, dx, dy, x) }
