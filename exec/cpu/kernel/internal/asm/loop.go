package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// loop walks slices of one length, that of the first parameter named.
type loop struct {
	s    *set
	base map[string]reg.Register
	at   reg.GPVirtual // bytes from the bases
	left reg.GPVirtual // elements left
}

// over starts a walk over slice parameters.
func (s *set) over(names ...string) *loop {
	l := &loop{s: s, base: map[string]reg.Register{}, at: GP64(), left: GP64()}
	for _, n := range names {
		l.base[n] = Load(Param(n).Base(), GP64())
	}
	Load(Param(names[0]).Len(), l.left)
	XORQ(l.at, l.at)
	return l
}

// mem is the current vector, or the one u vectors on, of a slice.
func (l *loop) mem(name string, u int) Mem {
	return Mem{Base: l.base[name], Index: l.at, Scale: 1, Disp: u * l.s.bytes()}
}

// half is the place of the current vector, or the one u vectors on, in words
// from base on.
func (l *loop) half(base reg.Register, u int) Mem {
	at := GP64()
	MOVQ(l.at, at)
	SHRQ(U8(1), at)
	return Mem{Base: base, Index: at, Scale: 1, Disp: u * l.s.bytes() / 2}
}

// each emits body for whole vectors, unroll at a time and then one by one, and
// once more for the partial vector at the end. body gets the vector's number
// within the unrolled group.
func (l *loop) each(unroll int, body func(u int, masked bool)) {
	if unroll > 1 {
		l.whole("unrolled", unroll, body)
	}
	l.whole("single", 1, body)
	TESTQ(l.left, l.left)
	JZ(LabelRef("done"))
	l.s.setMask(l.left)
	body(0, true)
	Label("done")
}

func (l *loop) whole(name string, unroll int, body func(u int, masked bool)) {
	step := unroll * l.s.lanes
	Label(name)
	CMPQ(l.left, I32(int32(step)))
	JL(LabelRef(name + "End"))
	for u := range unroll {
		body(u, false)
	}
	ADDQ(I32(int32(4*step)), l.at)
	SUBQ(I32(int32(step)), l.left)
	JMP(LabelRef(name))
	Label(name + "End")
}

// load reads a slice's current vector.
func (l *loop) load(name string, u int, masked bool) reg.VecVirtual {
	return l.s.load(l.mem(name, u), masked)
}

func (l *loop) store(x Op, name string, u int, masked bool) {
	l.s.store(x, l.mem(name, u), masked)
}

// accumulators are the partial sums of an unrolled reduction.
func (s *set) accumulators(n int) []reg.VecVirtual {
	a := make([]reg.VecVirtual, n)
	for i := range a {
		a[i] = s.zero()
	}
	return a
}

// gather adds up two or four accumulators into the first.
func (s *set) gather(a []reg.VecVirtual, f func(...Op)) reg.VecVirtual {
	f(a[1], a[0], a[0])
	if len(a) == 4 {
		f(a[3], a[2], a[2])
		f(a[2], a[0], a[0])
	}
	return a[0]
}
