package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// attention writes the functions of attention's blocks of scores, whose columns
// are independent softmaxes, and of the rows that enter and leave them.
func (s *set) attention() {
	if s.wide {
		s.products()
	}
	s.columnMax()
	s.columnPower()
	s.columnGrad()
	s.columnHide()
	s.logarithm()
	s.rowScale()
	s.pairDots()
}

// columnGroups emits body for groups of as many vectors of columns as registers
// allow, and for single ones.
func (l *loop) columnGroups(body func(n int, label string)) {
	n := 2
	if l.s.wide {
		n = 4
	}
	for _, n := range []int{n, 1} {
		label := [...]string{"", "one", "two", "", "four"}[n]
		l.whole(label, n, func(u int, _ bool) {
			if u == 0 {
				body(n, label+"Rows")
			}
		})
	}
}

// vectors are the current vector of a slice and those after it.
func (l *loop) vectors(name string, n int) (x []reg.VecVirtual) {
	for u := range n {
		x = append(x, l.load(name, u, false))
	}
	return x
}

func (s *set) at(p reg.Register, u int) Mem { return Mem{Base: p, Disp: u * s.bytes()} }

func (s *set) columnMax() {
	s.function("columnMax", "func(m, s []float32, ld, rows int)", "sets m to the larger of m and the maxima of the columns of s.")
	l, ld, rows := s.over("m", "s"), stride("ld"), GP64()
	Load(Param("rows"), rows)
	l.columnGroups(func(n int, label string) {
		m, p := l.vectors("m", n), l.pointer("s")
		down(label, rows, ld, []Op{p}, func() {
			for u := range n {
				VMAXPS(s.at(p, u), m[u], m[u])
			}
		})
		for u := range n {
			l.store(m[u], "m", u, false)
		}
	})
	end()
}

func (s *set) columnPower() {
	s.function("columnPower", "func(l, s, m []float32, ld, rows int, scale float32)",
		"sets s = 2^(scale s - m) and adds the sums of its columns to l.")
	l, ld, rows := s.over("l", "s", "m"), stride("ld"), GP64()
	Load(Param("rows"), rows)
	scale := s.param("scale")
	s.hold(powerTerms...)
	l.columnGroups(func(n int, label string) {
		sum, m, p := l.vectors("l", n), l.vectors("m", n), l.pointer("s")
		down(label, rows, ld, []Op{p}, func() {
			for u := range n {
				x := s.load(s.at(p, u), false)
				VFMSUB213PS(m[u], scale, x)
				e := s.power(x)
				VMOVUPS(e, s.at(p, u))
				VADDPS(e, sum[u], sum[u])
			}
		})
		for u := range n {
			l.store(sum[u], "l", u, false)
		}
	})
	end()
}

func (s *set) columnGrad() {
	s.function("columnGrad", "func(s, d, lse, delta []float32, ld, rows int, factor, scale float32)",
		"sets s to p = 2^(factor s - lse) and d to scale p (d-delta).")
	l, ld, rows := s.over("lse", "delta", "s", "d"), stride("ld"), GP64()
	Load(Param("rows"), rows)
	factor, scale := s.param("factor"), s.param("scale")
	s.hold(powerTerms...)
	l.columnGroups(func(n int, label string) {
		lse, delta := l.vectors("lse", n), l.vectors("delta", n)
		p, q := l.pointer("s"), l.pointer("d")
		down(label, rows, ld, []Op{p, q}, func() {
			for u := range n {
				x := s.load(s.at(p, u), false)
				VFMSUB213PS(lse[u], factor, x)
				e := s.power(x)
				VMOVUPS(e, s.at(p, u))
				d := s.sub(delta[u], s.load(s.at(q, u), false))
				VMOVUPS(s.mul(d, s.mul(e, scale)), s.at(q, u))
			}
		})
	})
	end()
}

// hideTable holds 16 times minus infinity, then 16 times infinity.
const hideTable = "hide"

// columnHide takes the smaller of the scores and a part of the table.
func (s *set) columnHide() {
	s.function("columnHide", "func(s []float32, ld, rows, hidden int)",
		"sets the first hidden+r elements of each row r to minus infinity; they are between 0 and 16, and len(s) counts all rows.")
	p, ld, rows, at := Load(Param("s").Base(), GP64()), stride("ld"), GP64(), GP64()
	Load(Param("rows"), rows)
	Load(Param("hidden"), at)
	table := GP64()
	LEAQ(s.table(hideTable).Offset(64), table)
	SHLQ(U8(2), at)
	SUBQ(at, table)
	down("rows", rows, ld, []Op{p}, func() {
		for u := range 16 / s.lanes {
			x := s.load(s.at(table, u), false)
			VMINPS(x, s.load(s.at(p, u), false), x)
			VMOVUPS(x, s.at(p, u))
		}
		SUBQ(Imm(4), table)
	})
	end()
}

func (s *set) writeHideTable() {
	GLOBL(hideTable+s.suffix, RODATA|NOPTR)
	for i := range 32 {
		sign := -1
		if i >= 16 {
			sign = 1
		}
		DATA(4*i, U32(math.Float32bits(float32(math.Inf(sign)))))
	}
}

// logarithm takes a positive number apart into 2^k m with m in [3/4, 3/2), and
// sums the series of the inverse hyperbolic tangent of (m-1)/(m+1).
func (s *set) logarithm() {
	s.function("log2", "func(y, x []float32)", "sets y to the binary logarithm of x, which is normal and positive, or NaN.")
	l := s.over("y", "x")
	l.each(1, func(u int, masked bool) {
		x := l.load("x", u, masked)
		k, m := s.apart(x)
		z := s.div(s.add(s.k(1), m), s.sub(s.constant(1), m))
		square := s.mul(z, z)
		y := s.horner(square, logSeries(11), logSeries(9), logSeries(7), logSeries(5), logSeries(3), logSeries(1))
		l.store(s.fma(y, z, k), "y", u, masked)
	})
	end()
}

func logSeries(n int) float64 { return 2 * math.Log2E / float64(n) }

// apart gives k and m with x = 2^k m.
func (s *set) apart(x reg.VecVirtual) (k, m reg.VecVirtual) {
	k, m = s.vec(), s.vec()
	larger := s.mul(s.k(4./3), x)
	if s.wide {
		VGETEXPPS(larger, k)
		VSCALEFPS(s.negative(k), x, m)
		return k, m
	}
	VPSRLD(U8(23), larger, larger)
	VPSUBD(s.bits(127), larger, k)
	VPSLLD(U8(23), k, larger)
	VPSUBD(larger, x, m)
	VCVTDQ2PS(k, k)
	return s.add(k, s.sub(x, x)), m // NaN stays one
}

func (s *set) rowScale() {
	s.function("rowScale", "func(y *float32, ldy int, x *float32, ldx, cols int, factors []float32)",
		"sets the rows of y to those of x times a factor each, cols > 0.")
	y, ldy, x, ldx := Load(Param("y"), GP64()), stride("ldy"), Load(Param("x"), GP64()), stride("ldx")
	factors, rows := Load(Param("factors").Base(), GP64()), GP64()
	Load(Param("factors").Len(), rows)
	down("rows", rows, ldy, []Op{y}, func() {
		factor := s.broadcast(Mem{Base: factors})
		l := s.row("cols", map[string]reg.Register{"y": y, "x": x})
		l.each(4, func(u int, masked bool) {
			l.store(s.mul(factor, l.load("x", u, masked)), "y", u, masked)
		})
		ADDQ(ldx, x)
		ADDQ(Imm(4), factors)
	})
	end()
}

func (s *set) pairDots() {
	s.function("pairDots", "func(out []float32, x *float32, ldx int, y *float32, ldy, cols int)",
		"sets out to the products of the rows of x with those of y, cols > 0.")
	x, ldx, y, ldy := Load(Param("x"), GP64()), stride("ldx"), Load(Param("y"), GP64()), stride("ldy")
	out, rows := Load(Param("out").Base(), GP64()), GP64()
	Load(Param("out").Len(), rows)
	down("rows", rows, ldx, []Op{x}, func() {
		acc := s.accumulators(4)
		l := s.row("cols", map[string]reg.Register{"x": x, "y": y})
		l.each(4, func(u int, masked bool) {
			s.fmaTo(acc[u], l.load("x", u, masked), l.load("y", u, masked))
		})
		VMOVSS(s.fold(s.gather(acc, VADDPS), VADDPS), Mem{Base: out})
		ADDQ(ldy, y)
		ADDQ(Imm(4), out)
	})
	end()
}

// row is a walk along rows of a number of elements that is a parameter.
func (s *set) row(length string, base map[string]reg.Register) *loop {
	l := &loop{s: s, base: base, at: GP64(), left: GP64()}
	Load(Param(length), l.left)
	XORQ(l.at, l.at)
	return l
}
