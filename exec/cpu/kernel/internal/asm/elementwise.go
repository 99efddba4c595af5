package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// elementwise writes the functions of one element each.
func (s *set) elementwise() {
	s.unary("exp", "sets y = exp(x).", s.holdExp, s.exp)
	s.unary("tanh", "sets y = tanh(x).", s.holdExp, s.tanh)
	s.unary("sigmoid", "sets y = 1 / (1 + exp(-x)).", s.holdExp, s.sigmoid)
	s.unary("erf", "sets y to the error function of x.", s.holdExp, s.erf)
	s.unary("geluTanh", "is GELU by tanh.", s.holdGELU, s.geluTanh)
	s.unary("geluErf", "is GELU by the error function.", s.holdExp, s.geluErf)
	s.unary("silu", "sets y = x sigmoid(x).", s.holdExp, s.silu)
	s.unary("roundBF16", "sets y to x rounded to bf16.", func() {}, s.roundBF16)

	s.gradient("geluTanhGrad", "is the gradient of geluTanh.", s.holdGELU, s.geluTanhSlope)
	s.gradient("geluErfGrad", "is the gradient of geluErf.", s.holdExp, s.geluErfSlope)
	s.gradient("siluGrad", "is the gradient of silu.", s.holdExp, s.siluSlope)

	s.binary("add", "sets y = a + b.", func(a, b reg.VecVirtual) reg.VecVirtual { return s.add(a, b) })
	s.binary("mul", "sets y = a b.", func(a, b reg.VecVirtual) reg.VecVirtual { return s.mul(a, b) })
	s.scale()
	s.axpy()
	s.powerScale()
	s.narrow()
	s.widen()
}

func (s *set) unary(name, doc string, hold func(), f func(x reg.VecVirtual) reg.VecVirtual) {
	s.function(name, "func(y, x []float32)", doc)
	l := s.over("y", "x")
	hold()
	l.each(2, func(u int, masked bool) {
		l.store(f(l.load("x", u, masked)), "y", u, masked)
	})
	end()
}

// gradient writes dx = dy f(x).
func (s *set) gradient(name, doc string, hold func(), f func(x reg.VecVirtual) reg.VecVirtual) {
	s.function(name, "func(dx, dy, x []float32)", doc)
	l := s.over("dx", "dy", "x")
	hold()
	l.each(2, func(u int, masked bool) {
		slope := f(l.load("x", u, masked))
		l.store(s.mul(l.load("dy", u, masked), slope), "dx", u, masked)
	})
	end()
}

func (s *set) binary(name, doc string, f func(a, b reg.VecVirtual) reg.VecVirtual) {
	s.function(name, "func(y, a, b []float32)", doc)
	l := s.over("y", "a", "b")
	l.each(4, func(u int, masked bool) {
		l.store(f(l.load("a", u, masked), l.load("b", u, masked)), "y", u, masked)
	})
	end()
}

func (s *set) scale() {
	s.function("scale", "func(y, x []float32, s float32)", "sets y = s x.")
	l, k := s.over("y", "x"), s.param("s")
	l.each(4, func(u int, masked bool) {
		l.store(s.mul(l.load("x", u, masked), k), "y", u, masked)
	})
	end()
}

func (s *set) axpy() {
	s.function("axpy", "func(y, x []float32, a float32)", "adds a x to y.")
	l, k := s.over("y", "x"), s.param("a")
	l.each(4, func(u int, masked bool) {
		y := l.load("y", u, masked)
		l.store(s.fmaTo(y, l.load("x", u, masked), k), "y", u, masked)
	})
	end()
}

func (s *set) powerScale() {
	s.function("powerScale", "func(y, x []float32, shift, s float32)", "sets y = s 2^(log2e x - shift).")
	l, shift, k := s.over("y", "x"), s.param("shift"), s.param("s")
	s.hold(append(powerTerms, log2e)...)
	l.each(4, func(u int, masked bool) {
		x := l.load("x", u, masked)
		VFMSUB132PS(s.k(log2e), shift, x)
		l.store(s.mul(s.power(x), k), "y", u, masked)
	})
	end()
}

// narrow and widen see whole vectors only: AVX2 has no masks for words.

func (s *set) narrow() {
	s.function("narrow", "func(y []uint16, x []float32)", "sets y to x rounded to bf16, for a whole number of vectors.")
	l := s.over("x")
	y := Load(Param("y").Base(), GP64())
	body := func(u int, _ bool) {
		x := s.roundBF16(l.load("x", u, false))
		VPSRLD(U8(16), x, x)
		to := l.half(y, u)
		if s.wide {
			VPMOVDW(x, to)
			return
		}
		lo, hi := s.halves(x)
		words := XMM()
		VPACKUSDW(hi, lo, words)
		VMOVUPS(words, to)
	}
	l.whole("unrolled", 2, body)
	l.whole("single", 1, body)
	end()
}

func (s *set) widen() {
	s.function("widen", "func(y []float32, x []uint16)", "sets y to the bf16 numbers x, for a whole number of vectors.")
	l := s.over("y")
	x := Load(Param("x").Base(), GP64())
	body := func(u int, _ bool) {
		z := s.vec()
		VPMOVZXWD(l.half(x, u), z)
		VPSLLD(U8(16), z, z)
		l.store(z, "y", u, false)
	}
	l.whole("unrolled", 4, body)
	l.whole("single", 1, body)
	end()
}
