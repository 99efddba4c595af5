package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// peaks writes the loops that show what the processor can do at most.
func (s *set) peaks() {
	s.mulAdds()
	s.triad()
}

// mulAdds keeps as many independent chains as registers hold: more than hide
// the latency of an instruction.
func (s *set) mulAdds() {
	vectors := 12
	if s.wide {
		vectors = 24
	}
	s.function("mulAdds", "func(n int, x, y float32) float32",
		fmt.Sprintf("runs n rounds of z = z x + y on %d vectors z, zero at first, and is the sum of their elements.", vectors))
	n := Load(Param("n"), GP64())
	x, y, z := s.param("x"), s.param("y"), s.accumulators(vectors)
	TESTQ(n, n)
	JZ(LabelRef("done"))
	Label("round")
	for _, z := range z {
		s.fma(z, x, y)
	}
	DECQ(n)
	JNZ(LabelRef("round"))
	Label("done")
	for _, z1 := range z[1:] {
		VADDPS(z1, z[0], z[0])
	}
	Store(s.fold(z[0], VADDPS), ReturnIndex(0))
	end()
}

// triad writes past the cache, so that no line of y is read.
func (s *set) triad() {
	s.function("triad", "func(y, a, b []float32, s float32)",
		"sets y = a + s b by stores past the cache: y starts at a multiple of 64 bytes, and its length is one of whole vectors.")
	l, factor := s.over("y", "a", "b"), s.param("s")
	body := func(u int, _ bool) {
		VMOVNTPS(s.fma(l.load("b", u, false), factor, l.mem("a", u)), l.mem("y", u))
	}
	l.whole("unrolled", 4, body)
	l.whole("single", 1, body)
	SFENCE()
	end()
}
