package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// columns writes the functions that walk down a block's rows, a vector of
// columns at a time.
func (s *set) columns() {
	s.columnSum()
	s.columnMax()
	s.columnExp()
	s.columnGrad()
}

// down emits body for each of the rows: pointers are stepped by ld bytes.
func down(label string, rows, ld reg.GPVirtual, pointers []reg.GPVirtual, body func()) {
	left := GP64()
	MOVQ(rows, left)
	TESTQ(left, left)
	JZ(LabelRef(label + "End"))
	Label(label)
	body()
	for _, p := range pointers {
		ADDQ(ld, p)
	}
	DECQ(left)
	JNZ(LabelRef(label))
	Label(label + "End")
}

// stride loads a parameter in elements as bytes.
func stride(name string) reg.GPVirtual {
	x := GP64()
	Load(Param(name), x)
	SHLQ(U8(2), x)
	return x
}

// pointer points to a slice's current vector.
func (l *loop) pointer(name string) reg.GPVirtual {
	p := GP64()
	LEAQ(l.mem(name, 0), p)
	return p
}

func (s *set) columnSum() {
	s.function("columnSum", "func(y, x []float32, ld, rows int)", "adds the column sums of x [rows, len(y)] to y.")
	l := s.over("y", "x")
	ld := stride("ld")
	rows := GP64()
	Load(Param("rows"), rows)
	four := func(masked bool, n int, label string) {
		acc := s.accumulators(n)
		p := l.pointer("x")
		down(label, rows, ld, []reg.GPVirtual{p}, func() {
			for i, a := range acc {
				VADDPS(s.load(Mem{Base: p, Disp: i * s.bytes()}, masked), a, a)
			}
		})
		for i, a := range acc {
			l.store(s.add(l.load("y", i, masked), a), "y", i, masked)
		}
	}
	// Several columns at once use whole cache lines of a row.
	l.whole("wide", 4, func(u int, masked bool) {
		if u == 0 {
			four(masked, 4, "wideRows")
		}
	})
	n := 0
	l.each(1, func(u int, masked bool) {
		n++
		four(masked, 1, [...]string{"", "oneRow", "lastRow"}[n])
	})
	end()
}

// The functions of attention blocks have whole vectors of columns only.

func (s *set) columnMax() {
	s.function("columnMax", "func(m, s []float32, ld, rows int)", "sets m to the larger of m and the maxima of the columns of s.")
	l, ld, rows := s.over("m", "s"), stride("ld"), GP64()
	Load(Param("rows"), rows)
	l.whole("columns", 1, func(u int, masked bool) {
		m, p := l.load("m", 0, false), l.pointer("s")
		down("rows", rows, ld, []reg.GPVirtual{p}, func() { VMAXPS(Mem{Base: p}, m, m) })
		l.store(m, "m", 0, false)
	})
	end()
}

func (s *set) columnExp() {
	s.function("columnExp", "func(l, s, m []float32, ld, rows int)", "sets s = exp(s-m) and adds the sums of its columns to l.")
	l, ld, rows := s.over("l", "s", "m"), stride("ld"), GP64()
	Load(Param("rows"), rows)
	l.whole("columns", 1, func(u int, masked bool) {
		sum, m, p := l.load("l", 0, false), l.load("m", 0, false), l.pointer("s")
		down("rows", rows, ld, []reg.GPVirtual{p}, func() {
			e := s.exp(s.sub(m, s.load(Mem{Base: p}, false)))
			VMOVUPS(e, Mem{Base: p})
			VADDPS(e, sum, sum)
		})
		l.store(sum, "l", 0, false)
	})
	end()
}

func (s *set) columnGrad() {
	s.function("columnGrad", "func(s, d, lse, delta []float32, ld, rows int, scale float32)",
		"sets s to p = exp(s-lse) and d to scale p (d-delta).")
	l, ld, rows := s.over("lse", "delta", "s", "d"), stride("ld"), GP64()
	Load(Param("rows"), rows)
	scale := s.param("scale")
	l.whole("columns", 1, func(u int, masked bool) {
		lse, delta := l.load("lse", 0, false), l.load("delta", 0, false)
		p, q := l.pointer("s"), l.pointer("d")
		down("rows", rows, ld, []reg.GPVirtual{p, q}, func() {
			e := s.exp(s.sub(lse, s.load(Mem{Base: p}, false)))
			VMOVUPS(e, Mem{Base: p})
			d := s.sub(delta, s.load(Mem{Base: q}, false))
			VMOVUPS(s.mul(d, s.mul(e, scale)), Mem{Base: q})
		})
	})
	end()
}
