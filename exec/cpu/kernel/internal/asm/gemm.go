package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// microKernels writes the tiles of matrix products: the full one and those of
// fewer rows or vectors for the edges. AVX-512 masks the last vector always;
// in AVX2 masked stores are slow, so that there is a second kind.
func (s *set) microKernels() {
	rows, vectors := []int{6, 4, 2, 1}, 2
	if s.wide {
		rows, vectors = []int{8, 4, 2, 1}, 3
	}
	for _, r := range rows {
		for n := vectors; n > 0; n-- {
			if s.wide {
				s.tile("tile", r, n, true)
				continue
			}
			s.tile("tile", r, n, false)
			s.tile("tile", r, n, true)
		}
	}
}

// micro is a micro-kernel's use of registers, which are assigned by hand: the
// sums fill most of them.
type micro struct {
	s             *set
	rows, vectors int
	masked, pairs bool
	sums          []reg.VecPhysical // row by row
	b             []reg.VecPhysical // one row of B
	spare         []reg.VecPhysical // broadcast elements of A
}

// The general registers of a micro-kernel.
var (
	regK, regLeft         = reg.RCX, reg.RAX
	regA, regA4, regRS    = reg.RSI, reg.R11, reg.R8 // rows 0 to 3, rows 4 to 7, row to row
	regRS3, regKS         = reg.R10, reg.R9          // three rows, column to column
	regB, regLDB          = reg.RDI, reg.RBX
	regC, regLDC, regFlag = reg.RDX, reg.R12, reg.R13
	regMask, regTail      = reg.K1, reg.R15
)

// tile writes the micro-kernel of float32, "tile", or of pairs, "pairTile".
func (s *set) tile(name string, rows, vectors int, masked bool) {
	m := &micro{s: s, rows: rows, vectors: vectors, masked: masked, pairs: name == "pairTile", sums: s.physical(0, rows*vectors)}
	name += fmt.Sprintf("%dx%d", rows, vectors*s.lanes)
	if s.wide {
		m.b, m.spare = s.physical(24, vectors), s.physical(27, 5)
	} else {
		m.b, m.spare = s.physical(12, vectors), s.physical(14, 2)
		if masked {
			name += "Masked"
		}
	}
	s.function(name, "func(kc int, a *float32, rs, ks int, b *float32, ldb int, c *float32, ldc int, accumulate int, bias *float32, tail int)",
		fmt.Sprintf("computes %d rows of %d vectors of C.", rows, vectors))
	m.load()
	m.multiply()
	m.finish()
	end()
}

// physical gives n vector registers from one on.
func (s *set) physical(first, n int) (x []reg.VecPhysical) {
	y := []reg.VecPhysical{reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7, reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15}
	z := []reg.VecPhysical{reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
		reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31}
	if s.wide {
		return z[first : first+n]
	}
	return y[first : first+n]
}

// load reads the parameters, and the rows of C into the cache.
func (m *micro) load() {
	if m.s.wide {
		Load(Param("tail"), regLeft)
		MOVQ(U32(math.MaxUint32), regA)
		BZHIQ(regLeft, regA, regA)
		KMOVW(reg.ESI, regMask)
	}
	if m.masked && !m.s.wide { // where AVX2's mask lies
		Load(Param("tail"), regLeft)
		NEGQ(regLeft)
		LEAQ(m.s.table(tailTable).Offset(32), regTail)
		LEAQ(Mem{Base: regTail, Index: regLeft, Scale: 4}, regTail)
	}
	for _, p := range []struct {
		name    string
		r       reg.Register
		element bool
	}{
		{"kc", regK, false}, {"a", regA, false}, {"rs", regRS, true}, {"ks", regKS, true},
		{"b", regB, false}, {"ldb", regLDB, true}, {"c", regC, false}, {"ldc", regLDC, true},
		{"accumulate", regFlag, false},
	} {
		Load(Param(p.name), p.r)
		if p.element {
			SHLQ(U8(2), p.r)
		}
	}
	LEAQ(Mem{Base: regRS, Index: regRS, Scale: 2}, regRS3)
	LEAQ(Mem{Base: regA, Index: regRS, Scale: 4}, regA4)
	m.prefetch(PREFETCHT1)
	for _, x := range m.sums {
		if m.s.wide {
			VPXORD(x, x, x)
		} else {
			VXORPS(x, x, x)
		}
	}
}

// prefetch asks for the rows of C.
func (m *micro) prefetch(ask func(m Op)) {
	MOVQ(regC, regLeft)
	m.eachRow(regLeft, func(int) {
		for v := 0; v < m.vectors; v += 64 / m.s.bytes() {
			ask(Mem{Base: regLeft, Disp: v * m.s.bytes()})
		}
	})
}

// multiply adds the products over k, four steps at a time and then one. C, which
// is on its way to the L2 cache, is asked for once more when few steps are left:
// the L1 cache would not keep it for longer, and stores that miss it wait.
func (m *micro) multiply() {
	const unroll, late = 4, 4 // steps a round, rounds that are left
	rounds := func(loop string) {
		Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(64)}})
		Label(loop)
		for range unroll {
			m.step()
		}
		DECQ(regLeft)
		JNZ(LabelRef(loop))
	}
	MOVQ(regK, regLeft)
	SHRQ(U8(2), regLeft)
	SUBQ(U8(late), regLeft)
	JLE(LabelRef("near"))
	rounds("loop")
	Label("near")
	m.prefetch(PREFETCHT0)
	MOVQ(regK, regLeft)
	SHRQ(U8(2), regLeft)
	JZ(LabelRef("rest"))
	CMPQ(regLeft, U8(late))
	JLE(LabelRef("last"))
	MOVQ(U32(late), regLeft)
	rounds("last")
	Label("rest")
	ANDQ(U8(unroll-1), regK)
	JZ(LabelRef("sum"))
	Label("single")
	m.step()
	DECQ(regK)
	JNZ(LabelRef("single"))
	Label("sum")
}

// step is one k: a row of B times the elements of a column of A.
func (m *micro) step() {
	for v, b := range m.b {
		m.loadVector(Mem{Base: regB, Disp: v * m.s.bytes()}, v, b)
	}
	ADDQ(regLDB, regB)
	rows := fourRows(regA, regRS, regRS3)
	upper := fourRows(regA4, regRS, regRS3)
	for r := range m.rows {
		a := upper[r%4]
		if r < 4 {
			a = rows[r]
		}
		x := m.spare[r%len(m.spare)]
		VBROADCASTSS(a, x)
		for v, b := range m.b {
			if m.pairs {
				dotProducts.emit(x, b, m.sums[r*m.vectors+v])
			} else {
				VFMADD231PS(x, b, m.sums[r*m.vectors+v])
			}
		}
	}
	ADDQ(regKS, regA)
	if m.rows > 4 {
		ADDQ(regKS, regA4)
	}
}

func (m *micro) partial(v int) bool { return m.masked && v == m.vectors-1 }

func (m *micro) loadVector(from Mem, v int, to reg.VecPhysical) {
	switch {
	case !m.partial(v):
		VMOVUPS(from, to)
	case m.s.wide:
		VMOVUPS_Z(from, regMask, to)
	default:
		m.tailMask()
		VMASKMOVPS(from, m.tailMaskRegister(), to)
	}
}

func (m *micro) tailMaskRegister() reg.VecPhysical { return m.spare[1] }

// tailMask makes AVX2's mask, for which no register is free all the time.
func (m *micro) tailMask() {
	VMOVUPS(Mem{Base: regTail}, m.tailMaskRegister())
}

// finish adds C if asked to, then the bias, and stores.
func (m *micro) finish() {
	TESTQ(regFlag, regFlag)
	JZ(LabelRef("bias"))
	MOVQ(regC, regLeft)
	m.eachRow(regLeft, func(r int) {
		for v := range m.vectors {
			t := m.b[0]
			m.loadVector(Mem{Base: regLeft, Disp: v * m.s.bytes()}, v, t)
			x := m.sums[r*m.vectors+v]
			VADDPS(t, x, x)
		}
	})
	Label("bias")
	Load(Param("bias"), regLeft)
	TESTQ(regLeft, regLeft)
	JZ(LabelRef("store"))
	for v, b := range m.b {
		m.loadVector(Mem{Base: regLeft, Disp: v * m.s.bytes()}, v, b)
	}
	for r := range m.rows {
		for v, b := range m.b {
			x := m.sums[r*m.vectors+v]
			VADDPS(b, x, x)
		}
	}
	Label("store")
	if m.masked && !m.s.wide {
		m.tailMask()
	}
	m.eachRow(regC, func(r int) {
		for v := range m.vectors {
			x, to := m.sums[r*m.vectors+v], Mem{Base: regC, Disp: v * m.s.bytes()}
			switch {
			case !m.partial(v):
				VMOVUPS(x, to)
			case m.s.wide:
				VMOVUPS(x, regMask, to)
			default:
				VMASKMOVPS(x, m.tailMaskRegister(), to)
			}
		}
	})
}

// eachRow steps a pointer through the rows of C.
func (m *micro) eachRow(p reg.Register, body func(r int)) {
	for r := range m.rows {
		body(r)
		if r < m.rows-1 {
			ADDQ(regLDC, p)
		}
	}
}
