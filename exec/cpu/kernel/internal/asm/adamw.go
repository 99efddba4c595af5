package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// adamW writes the optimiser's step; k holds adamWFactors.
func (s *set) adamW() {
	s.function("adamW", "func(p, m, v, g []float32, k *[8]float32)", "updates p, m and v from the gradient g.")
	l := s.over("p", "m", "v", "g")
	k := Load(Param("k"), GP64())
	var f [8]reg.VecVirtual
	for i := range f {
		f[i] = s.broadcast(Mem{Base: k, Disp: 4 * i})
	}
	gradScale, decay, oneMinus1, beta2, oneMinus2, invRoot, eps, rate := f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]
	l.each(1, func(u int, masked bool) {
		g, m, v := l.load("g", u, masked), l.load("m", u, masked), l.load("v", u, masked)
		g = s.mul(gradScale, g)
		m = s.fmaTo(m, oneMinus1, s.sub(m, g))
		l.store(m, "m", u, masked)
		v = s.fmaTo(s.mul(beta2, v), s.mul(g, g), oneMinus2)
		l.store(v, "v", u, masked)
		root := s.vec()
		VSQRTPS(v, root)
		s.fma(root, invRoot, eps)
		p := s.mul(decay, l.load("p", u, masked))
		VFNMADD231PS(s.div(root, m), rate, p)
		l.store(p, "p", u, masked)
	})
	end()
}
