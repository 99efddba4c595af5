package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"
)

// norms writes the rows of layer norm and RMS norm.
func (s *set) norms() {
	s.norm("norm", true)
	s.norm("normScale", false)
	s.normSums()
	s.normGrad()
}

func (s *set) norm(name string, shift bool) {
	signature, doc := "func(y, x, gamma []float32, mean, rstd float32)", "sets y = (x-mean) rstd gamma."
	slices := []string{"y", "x", "gamma"}
	if shift {
		signature, doc = "func(y, x, gamma, beta []float32, mean, rstd float32)", "sets y = (x-mean) rstd gamma + beta."
		slices = append(slices, "beta")
	}
	s.function(name, signature, doc)
	l, mean, rstd := s.over(slices...), s.param("mean"), s.param("rstd")
	l.each(1, func(u int, masked bool) {
		y := s.xhat(l, u, masked, mean, rstd)
		gamma := l.load("gamma", u, masked)
		if shift {
			s.fma(y, gamma, l.load("beta", u, masked))
		} else {
			y = s.mul(gamma, y)
		}
		l.store(y, "y", u, masked)
	})
	end()
}

func (s *set) xhat(l *loop, u int, masked bool, mean, rstd reg.VecVirtual) reg.VecVirtual {
	return s.mul(rstd, s.sub(mean, l.load("x", u, masked)))
}

func (s *set) normSums() {
	s.function("normSums", "func(dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32) (s1, s2 float32)",
		"gives the sums of g = dy gamma and of g xhat, and adds dy xhat to dgamma and dy to dbeta.")
	l, mean, rstd := s.over("dgamma", "dbeta", "dy", "x", "gamma"), s.param("mean"), s.param("rstd")
	n := 2
	if s.wide {
		n = 4
	}
	s1, s2 := s.accumulators(n), s.accumulators(n)
	l.each(4, func(u int, masked bool) {
		xhat, dy := s.xhat(l, u, masked, mean, rstd), l.load("dy", u, masked)
		l.store(s.add(l.load("dbeta", u, masked), dy), "dbeta", u, masked)
		l.store(s.fmaTo(l.load("dgamma", u, masked), dy, xhat), "dgamma", u, masked)
		g := s.mul(l.load("gamma", u, masked), dy)
		VADDPS(g, s1[u%n], s1[u%n])
		s.fmaTo(s2[u%n], g, xhat)
	})
	Store(s.fold(s.gather(s1, VADDPS), VADDPS), ReturnIndex(0))
	Store(s.fold(s.gather(s2, VADDPS), VADDPS), ReturnIndex(1))
	end()
}

func (s *set) normGrad() {
	s.function("normGrad", "func(dx, dy, x, gamma []float32, mean, rstd, m1, m2 float32)",
		"sets dx = rstd (dy gamma - m1 - xhat m2).")
	l := s.over("dx", "dy", "x", "gamma")
	mean, rstd, m1, m2 := s.param("mean"), s.param("rstd"), s.param("m1"), s.param("m2")
	l.each(1, func(u int, masked bool) {
		xhat := s.xhat(l, u, masked, mean, rstd)
		g := s.mul(l.load("gamma", u, masked), l.load("dy", u, masked))
		g = s.sub(m1, g)
		VFNMADD231PS(m2, xhat, g)
		l.store(s.mul(rstd, g), "dx", u, masked)
	})
	end()
}
