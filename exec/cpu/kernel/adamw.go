package kernel

import "math"

// AdamWArgs are the hyperparameters of one step of AdamW: Loshchilov and
// Hutter, Decoupled Weight Decay Regularization (2019), as
// torch.optim.AdamW computes it.
type AdamWArgs struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	Step                               int     // 1 for the first
	GradScale                          float64 // multiplies the gradient first; 1 for none
}

// adamWFactors are the constants of a step, in the order the assembly reads.
type adamWFactors = [8]float32

const (
	gradScale = iota
	decay     // 1 - lr wd
	oneMinus1 // 1 - beta1
	beta2
	oneMinus2 // 1 - beta2
	invRoot   // 1 / sqrt(1 - beta2^step)
	epsilon
	rate // lr / (1 - beta1^step)
)

func (a *AdamWArgs) factors() adamWFactors {
	step := float64(a.Step)
	return adamWFactors{
		gradScale: float32(a.GradScale),
		decay:     float32(1 - a.LR*a.WeightDecay),
		oneMinus1: float32(1 - a.Beta1),
		beta2:     float32(a.Beta2),
		oneMinus2: float32(1 - a.Beta2),
		invRoot:   float32(1 / math.Sqrt(1-math.Pow(a.Beta2, step))),
		epsilon:   float32(a.Eps),
		rate:      float32(a.LR / (1 - math.Pow(a.Beta1, step))),
	}
}

type adamWTask struct {
	f          func(p, m, v, g []float32, k *adamWFactors)
	p, m, v, g []float32
	k          adamWFactors
}

// AdamW updates parameters, first moments m and second moments v from the
// gradient in one pass:
//
//	g = GradScale g
//	p = p (1 - lr wd)
//	m = m + (1-beta1) (g - m)
//	v = beta2 v + (1-beta2) g^2
//	p = p - lr/(1-beta1^t) m / (sqrt(v)/sqrt(1-beta2^t) + eps)
func AdamW(p *Pool, param, m, v, grad []float32, a AdamWArgs) {
	n := len(param)
	t := &p.tasks.adamW
	*t = adamWTask{active.Load().adamW, param, m[:n], v[:n], grad[:n], a.factors()}
	p.run(n, chunk, t)
	*t = adamWTask{}
}

func (t *adamWTask) run(_, lo, hi int) {
	t.f(t.p[lo:hi], t.m[lo:hi], t.v[lo:hi], t.g[lo:hi], &t.k)
}

func adamWGeneric(p, m, v, g []float32, k *adamWFactors) {
	for i := range p {
		grad := g[i] * k[gradScale]
		m[i] += k[oneMinus1] * (grad - m[i])
		v[i] = v[i]*k[beta2] + k[oneMinus2]*grad*grad
		root := float32(math.Sqrt(float64(v[i])))
		p[i] = p[i]*k[decay] - k[rate]*(m[i]/(root*k[invRoot]+k[epsilon]))
	}
}
