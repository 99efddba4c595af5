package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dotKernels writes the dot products of some rows of A with four rows of B.
func (s *set) dotKernels() {
	rows := []int{2, 1}
	if s.wide {
		rows = []int{4, 2, 1}
	}
	for _, r := range rows {
		s.dots(r)
	}
}

func (s *set) dots(rows int) {
	s.function(fmt.Sprintf("dots%d", rows), "func(k int, a *float32, lda int, b *float32, ldb int, out *float32)",
		fmt.Sprintf("sets out[r*4+j] = dot(a row r, b row j) for r < %d, j < 4.", rows))
	l := &loop{s: s, base: map[string]reg.Register{}, at: GP64(), left: GP64()}
	l.rows("a", "lda", rows)
	l.rows("b", "ldb", 4)
	Load(Param("k"), l.left)
	XORQ(l.at, l.at)
	// The next four rows of B, which mostly follow these: the processor itself
	// loses track where a row, or a page, ends.
	ahead := GP64()
	LEAQ(Mem{Base: l.base["b3"], Index: stride("ldb"), Scale: 1}, ahead)
	acc := s.accumulators(4 * rows)
	l.each(1, func(u int, masked bool) {
		for line := 0; line < 4*s.bytes(); line += 64 {
			PREFETCHT0(Mem{Base: ahead, Index: l.at, Scale: 4, Disp: line})
		}
		var b [4]reg.VecVirtual
		for j := range b {
			b[j] = l.load(fmt.Sprint("b", j), u, masked)
		}
		for r := range rows {
			a := l.load(fmt.Sprint("a", r), u, masked)
			for j := range b {
				s.fmaTo(acc[4*r+j], a, b[j])
			}
		}
	})
	out := Load(Param("out"), GP64())
	for i, x := range acc {
		VMOVSS(s.fold(x, VADDPS), Mem{Base: out, Disp: 4 * i})
	}
	end()
}

// rows makes pointers name0, name1 and so on to the rows of a matrix.
func (l *loop) rows(name, ld string, n int) {
	p, step := Load(Param(name), GP64()), stride(ld)
	for r := range n {
		row := GP64()
		MOVQ(p, row)
		l.base[fmt.Sprint(name, r)] = row
		if r < n-1 {
			ADDQ(step, p)
		}
	}
}
