package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// products writes the products of attention's blocks in AVX-512: a strip of C of
// up to four vectors, as wide as a head of 64, and of any number of rows.
func (s *set) products() {
	for vectors := 4; vectors > 0; vectors-- {
		p := &product{s: s, vectors: vectors}
		p.emit()
	}
}

// product is a strip. Registers are assigned by hand: the sums fill 24, a row of
// B up to four, and elements of A the last four.
type product struct {
	s       *set
	vectors int
}

// The general registers of a product. Rows of A are reached from two pointers,
// half of the rows apart.
var (
	prodRows, prodK, prodLeft = reg.RCX, reg.RAX, reg.RBX
	prodA, prodRS, prodRS3    = reg.RSI, reg.R8, reg.R10
	prodKS, prodLow, prodHigh = reg.R9, reg.R11, reg.R12
	prodB, prodLDB, prodAtB   = reg.RDI, reg.R13, reg.R15
	prodC, prodLDC            = reg.RDX, reg.R14
	prodMask                  = reg.K1
)

func zmm(n int) reg.VecPhysical {
	return []reg.VecPhysical{reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
		reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31}[n]
}

func (p *product) sum(row, vector int) reg.VecPhysical { return zmm(row*p.vectors + vector) }
func (p *product) b(vector int) reg.VecPhysical        { return zmm(24 + vector) }
func (p *product) a(row int) reg.VecPhysical           { return zmm(28 + row%4) }

func (p *product) emit() {
	p.s.function(fmt.Sprintf("product%d", p.vectors),
		"func(rows, kc int, a *float32, rs, ks int, b *float32, ldb int, c *float32, ldc int, accumulate int, tail int)",
		fmt.Sprintf("computes rows of %d vectors of C, the last one of tail elements.", p.vectors))
	Load(Param("tail"), prodLeft)
	MOVQ(U32(math.MaxUint32), prodA)
	BZHIQ(prodLeft, prodA, prodA)
	KMOVW(reg.ESI, prodMask)
	for _, x := range []struct {
		name    string
		r       reg.Register
		element bool
	}{
		{"rows", prodRows, false}, {"kc", prodK, false}, {"a", prodA, false}, {"rs", prodRS, true}, {"ks", prodKS, true},
		{"b", prodB, false}, {"ldb", prodLDB, true}, {"c", prodC, false}, {"ldc", prodLDC, true},
	} {
		Load(Param(x.name), x.r)
		if x.element {
			SHLQ(U8(2), x.r)
		}
	}
	LEAQ(Mem{Base: prodRS, Index: prodRS, Scale: 2}, prodRS3)
	rows := []int{8, 4, 2, 1}
	if p.vectors == 4 {
		rows[0] = 6
	}
	for _, r := range rows {
		start, done := fmt.Sprintf("rows%d", r), fmt.Sprintf("rows%dEnd", r)
		Label(start)
		CMPQ(prodRows, Imm(uint64(r)))
		JL(LabelRef(done))
		p.group(r)
		SUBQ(Imm(uint64(r)), prodRows)
		JMP(LabelRef(start))
		Label(done)
	}
	end()
}

// group computes the next rows of C, and moves on.
func (p *product) group(rows int) {
	label := func(name string) string { return fmt.Sprint(name, rows) }
	MOVQ(prodA, prodLow)
	if rows == 6 {
		LEAQ(Mem{Base: prodA, Index: prodRS3, Scale: 1}, prodHigh)
	} else {
		LEAQ(Mem{Base: prodA, Index: prodRS, Scale: 4}, prodHigh)
	}
	MOVQ(prodB, prodAtB)
	MOVQ(prodC, prodLeft)
	for r := range rows {
		for v := range p.vectors {
			PREFETCHT0(Mem{Base: prodLeft, Disp: 64 * v})
			x := p.sum(r, v)
			VPXORD(x, x, x)
		}
		ADDQ(prodRS, prodA)
		if r < rows-1 {
			ADDQ(prodLDC, prodLeft)
		}
	}
	const unroll = 4
	MOVQ(prodK, prodLeft)
	SUBQ(Imm(unroll), prodLeft)
	JL(LabelRef(label("rest")))
	Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(64)}})
	Label(label("loop"))
	for range unroll {
		p.step(rows)
	}
	SUBQ(Imm(unroll), prodLeft)
	JGE(LabelRef(label("loop")))
	Label(label("rest"))
	ADDQ(Imm(unroll), prodLeft)
	JZ(LabelRef(label("sum")))
	Label(label("single"))
	p.step(rows)
	DECQ(prodLeft)
	JNZ(LabelRef(label("single")))
	Label(label("sum"))
	p.finish(rows, label("store"))
}

// step is one k: a row of B times the elements of a column of A.
func (p *product) step(rows int) {
	for v := range p.vectors {
		p.load(Mem{Base: prodAtB, Disp: 64 * v}, v)
	}
	ADDQ(prodLDB, prodAtB)
	low, high := fourRows(prodLow, prodRS, prodRS3), fourRows(prodHigh, prodRS, prodRS3)
	half := 4
	if rows == 6 {
		half = 3
	}
	for r := range rows {
		a := low[r%half]
		if r >= half {
			a = high[r%half]
		}
		VBROADCASTSS(a, p.a(r))
		for v := range p.vectors {
			VFMADD231PS(p.a(r), p.b(v), p.sum(r, v))
		}
	}
	ADDQ(prodKS, prodLow)
	if rows > half {
		ADDQ(prodKS, prodHigh)
	}
}

// load reads a vector of a row of B or C into the registers of B.
func (p *product) load(from Mem, vector int) {
	if vector == p.vectors-1 {
		VMOVUPS_Z(from, prodMask, p.b(vector))
	} else {
		VMOVUPS(from, p.b(vector))
	}
}

// finish adds C if asked to, stores, and moves on in C.
func (p *product) finish(rows int, store string) {
	flag := NewParamAddr("accumulate", 72)
	CMPQ(flag, Imm(0))
	JEQ(LabelRef(store))
	MOVQ(prodC, prodLeft)
	for r := range rows {
		for v := range p.vectors {
			p.load(Mem{Base: prodLeft, Disp: 64 * v}, v)
			VADDPS(p.b(v), p.sum(r, v), p.sum(r, v))
		}
		ADDQ(prodLDC, prodLeft)
	}
	Label(store)
	for r := range rows {
		for v := range p.vectors {
			to := Mem{Base: prodC, Disp: 64 * v}
			if v == p.vectors-1 {
				VMOVUPS(p.sum(r, v), prodMask, to)
			} else {
				VMOVUPS(p.sum(r, v), to)
			}
		}
		ADDQ(prodLDC, prodC)
	}
}
