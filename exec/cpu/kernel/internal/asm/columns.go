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
}

// down emits body for each of the rows: pointers are stepped by ld bytes.
func down(label string, rows, ld Op, pointers []Op, body func()) {
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
		down(label, rows, ld, []Op{p}, func() {
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
