package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A pair is two bf16 numbers in 32 bits, the first in the lower half. The
// instructions for them, AVX512_BF16, are unknown to avo and to Go's assembler:
// they are written byte by byte, so the functions below assign registers by
// hand. They exist in AVX-512 only.

// pairKernels writes the products of pairs and what makes pairs of float32.
func (s *set) pairKernels() {
	if !s.wide {
		return
	}
	for _, rows := range []int{8, 4, 2, 1} {
		for vectors := 3; vectors > 0; vectors-- {
			s.tile("pairTile", rows, vectors, true)
		}
	}
	s.pairRow()
	for vectors := 3; vectors > 0; vectors-- {
		s.pairColumns(vectors)
		s.joinColumns(vectors)
	}
	s.splitPairs()
	s.splitWords()
	s.transpose16("pairTranspose16", true)
	s.pairMulAdds()
}

// bf16Op is an instruction of AVX512_BF16, 512 bits wide: the opcode and the
// mandatory prefix as EVEX encodes it.
type bf16Op struct{ opcode, prefix byte }

var (
	dotProducts = bf16Op{0x52, 2} // VDPBF16PS: dst += a1 b1, then a0 b0
	toPairs     = bf16Op{0x72, 3} // VCVTNE2PS2BF16: dst = low rounded, then high rounded
)

// emit writes the instruction on registers: low is the operand that could be in
// memory. Intel, Software Developer's Manual, volume 2, section 2.7.
func (o bf16Op) emit(low, high, dst reg.VecPhysical) {
	l, h, d := low.ID().Index(), high.ID().Index(), dst.ID().Index()
	not := func(v reg.Index, bit int) byte { return byte(^v>>bit) & 1 }
	const map0F38, fixed, full = 2, 4, 0x40
	for _, b := range []byte{
		0x62,
		not(d, 3)<<7 | not(l, 4)<<6 | not(l, 3)<<5 | not(d, 4)<<4 | map0F38,
		byte(^h&15)<<3 | fixed | o.prefix,
		full | not(h, 4)<<3,
		o.opcode,
		0xC0 | byte(d&7)<<3 | byte(l&7),
	} {
		Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(b)}})
	}
}

// lowDwords makes the mask of the first n dwords, n from 0 to 16 after
// clipping; it overwrites n.
func lowDwords(n, scratch reg.GPPhysical, mask reg.OpmaskPhysical) {
	MOVQ(U32(math.MaxUint32), scratch)
	BZHIQ(n, scratch, scratch)
	KMOVW(scratch.As32(), mask)
}

// pairRow makes pairs of neighbours.
func (s *set) pairRow() {
	s.function("pairRow", "func(n int, dst, src *float32)", "sets pair i of dst to elements 2i and 2i+1 of src, of which there are n and zeros.")
	n, dst, src, low, high, out := reg.RCX, reg.RDI, reg.RSI, reg.RAX, reg.RBX, reg.RDX
	z := s.physical(0, 8)
	Load(Param("n"), n)
	Load(Param("dst"), dst)
	Load(Param("src"), src)
	whole := func(label string, blocks int) {
		Label(label)
		CMPQ(n, U8(32*blocks))
		JL(LabelRef(label + "End"))
		for b := range blocks {
			VMOVUPS(Mem{Base: src, Disp: 128 * b}, z[2*b])
			VMOVUPS(Mem{Base: src, Disp: 128*b + 64}, z[2*b+1])
			toPairs.emit(z[2*b], z[2*b+1], z[2*b])
			VMOVUPS(z[2*b], Mem{Base: dst, Disp: 64 * b})
		}
		ADDQ(I32(int32(128*blocks)), src)
		ADDQ(I32(int32(64*blocks)), dst)
		SUBQ(I32(int32(32*blocks)), n)
		JMP(LabelRef(label))
		Label(label + "End")
	}
	whole("unrolled", 3)
	whole("single", 1)
	TESTQ(n, n)
	JZ(LabelRef("done"))
	XORQ(high, high)
	LEAQ(Mem{Base: n, Disp: -16}, low)
	TESTQ(low, low)
	CMOVQGT(low, high)
	LEAQ(Mem{Base: n, Disp: 1}, out)
	SHRQ(U8(1), out)
	lowDwords(n, low, reg.K1)
	lowDwords(high, low, reg.K2)
	lowDwords(out, low, reg.K3)
	VMOVUPS_Z(Mem{Base: src}, reg.K1, z[0])
	VMOVUPS_Z(Mem{Base: src, Disp: 64}, reg.K2, z[1])
	toPairs.emit(z[0], z[1], z[0])
	VMOVUPS(z[0], reg.K3, Mem{Base: dst})
	Label("done")
	end()
}

// pairOrder interleaves the words of the lower and the upper half.
const pairOrder = "pairOrder"

// pairColumns makes pairs of the elements of two rows.
func (s *set) pairColumns(vectors int) {
	s.function(fmt.Sprintf("pairColumns%d", vectors), "func(rows int, dst *float32, ldd int, src *float32, lds int, tail int)",
		fmt.Sprintf("makes a row of pairs of each two rows of src, the last with zeros if rows is odd, on %d vectors, tail elements of the last; strides in bytes.", vectors))
	rows, dst, ldd, src, lds, scratch := reg.RCX, reg.RDI, reg.R8, reg.RSI, reg.R9, reg.RAX
	z := s.physical(0, 2*vectors)
	order := reg.Z31
	Load(Param("rows"), rows)
	Load(Param("dst"), dst)
	Load(Param("ldd"), ldd)
	Load(Param("src"), src)
	Load(Param("lds"), lds)
	Load(Param("tail"), reg.RBX)
	lowDwords(reg.RBX, scratch, reg.K1)
	VMOVUPS(s.table(pairOrder), order)
	load := func(m Mem, v int, z reg.VecPhysical) {
		m.Disp = 64 * v
		if v == vectors-1 {
			VMOVUPS_Z(m, reg.K1, z)
		} else {
			VMOVUPS(m, z)
		}
	}
	store := func(v int) {
		x, m := z[2*v], Mem{Base: dst, Disp: 64 * v}
		toPairs.emit(x, z[2*v+1], x)
		VPERMW(x, order, x)
		if v == vectors-1 {
			VMOVUPS(x, reg.K1, m)
		} else {
			VMOVUPS(x, m)
		}
	}
	SUBQ(U8(2), rows)
	JL(LabelRef("last"))
	Label("pair")
	for v := range vectors {
		load(Mem{Base: src}, v, z[2*v])
		load(Mem{Base: src, Index: lds, Scale: 1}, v, z[2*v+1])
		store(v)
	}
	LEAQ(Mem{Base: src, Index: lds, Scale: 2}, src)
	ADDQ(ldd, dst)
	SUBQ(U8(2), rows)
	JGE(LabelRef("pair"))
	Label("last")
	CMPQ(rows, I8(-1))
	JNE(LabelRef("done"))
	for v := range vectors {
		load(Mem{Base: src}, v, z[2*v])
		VPXORD(z[2*v+1], z[2*v+1], z[2*v+1])
		store(v)
	}
	Label("done")
	end()
}

// splitPairs makes pairs of the elements of two rows and deals them out to
// panels of 8 columns, two panels at once.
func (s *set) splitPairs() {
	s.function("splitPairs", "func(twins, pairs int, dst *float32, next int, src *float32, lds int)",
		"makes rows of 16 pairs of each two rows of src, lds bytes apart, and puts one half into a panel, the other next bytes on; then those of the next two panels.")
	twins, pairs, dst, next, src, lds := reg.RBX, reg.RCX, reg.RDI, reg.R8, reg.RSI, reg.R9
	from, to, left := reg.RAX, reg.RDX, reg.R10
	x, y, order := reg.Z0, reg.Z1, reg.Z31
	Load(Param("twins"), twins)
	Load(Param("pairs"), pairs)
	Load(Param("dst"), dst)
	Load(Param("next"), next)
	Load(Param("src"), src)
	Load(Param("lds"), lds)
	VMOVUPS(s.table(pairOrder), order)
	Label("twin")
	MOVQ(src, from)
	MOVQ(dst, to)
	MOVQ(pairs, left)
	Label("pair")
	VMOVUPS(Mem{Base: from}, x)
	VMOVUPS(Mem{Base: from, Index: lds, Scale: 1}, y)
	toPairs.emit(x, y, x)
	VPERMW(x, order, x)
	VMOVUPS(reg.Y0, Mem{Base: to})
	VEXTRACTF32X8(U8(1), x, Mem{Base: to, Index: next, Scale: 1})
	LEAQ(Mem{Base: from, Index: lds, Scale: 2}, from)
	ADDQ(I32(32), to)
	DECQ(left)
	JNZ(LabelRef("pair"))
	ADDQ(I32(64), src)
	LEAQ(Mem{Base: dst, Index: next, Scale: 2}, dst)
	DECQ(twins)
	JNZ(LabelRef("twin"))
	end()
}

// joinColumns is pairColumns of rows that are bf16 already.
func (s *set) joinColumns(vectors int) {
	s.function(fmt.Sprintf("joinColumns%d", vectors), "func(rows int, dst *float32, ldd int, src *uint16, lds int, tail int)",
		fmt.Sprintf("makes a row of pairs of each two rows of src, the last with zeros if rows is odd, on %d vectors, tail elements of the last; strides in bytes.", vectors))
	rows, dst, ldd, src, lds := reg.RCX, reg.RDI, reg.R8, reg.RSI, reg.R9
	z := s.physical(0, 2*vectors)
	Load(Param("rows"), rows)
	Load(Param("dst"), dst)
	Load(Param("ldd"), ldd)
	Load(Param("src"), src)
	Load(Param("lds"), lds)
	Load(Param("tail"), reg.RBX)
	lowDwords(reg.RBX, reg.RAX, reg.K1)
	load := func(m Mem, v int, z reg.VecPhysical) {
		m.Disp = 32 * v
		if v == vectors-1 {
			VPMOVZXWD_Z(m, reg.K1, z)
		} else {
			VPMOVZXWD(m, z)
		}
	}
	store := func(v int) {
		if x, m := z[2*v], (Mem{Base: dst, Disp: 64 * v}); v == vectors-1 {
			VMOVUPS(x, reg.K1, m)
		} else {
			VMOVUPS(x, m)
		}
	}
	SUBQ(U8(2), rows)
	JL(LabelRef("last"))
	Label("pair")
	for v := range vectors {
		load(Mem{Base: src}, v, z[2*v])
		load(Mem{Base: src, Index: lds, Scale: 1}, v, z[2*v+1])
		joinWords(z[2*v], z[2*v+1])
		store(v)
	}
	LEAQ(Mem{Base: src, Index: lds, Scale: 2}, src)
	ADDQ(ldd, dst)
	SUBQ(U8(2), rows)
	JGE(LabelRef("pair"))
	Label("last")
	CMPQ(rows, I8(-1))
	JNE(LabelRef("done"))
	for v := range vectors {
		load(Mem{Base: src}, v, z[2*v])
		store(v)
	}
	Label("done")
	end()
}

// joinWords makes pairs of the words in the dwords of x and y, in x; it
// overwrites y.
func joinWords(x, y reg.VecPhysical) {
	VPSLLD(U8(16), y, y)
	VPORD(y, x, x)
}

// splitWords is splitPairs of rows that are bf16 already.
func (s *set) splitWords() {
	s.function("splitWords", "func(twins, pairs int, dst *float32, next int, src *uint16, lds int)",
		"makes rows of 16 pairs of each two rows of src, lds bytes apart, and puts one half into a panel, the other next bytes on; then those of the next two panels.")
	twins, pairs, dst, next, src, lds := reg.RBX, reg.RCX, reg.RDI, reg.R8, reg.RSI, reg.R9
	from, to, left := reg.RAX, reg.RDX, reg.R10
	x, y := reg.Z0, reg.Z1
	Load(Param("twins"), twins)
	Load(Param("pairs"), pairs)
	Load(Param("dst"), dst)
	Load(Param("next"), next)
	Load(Param("src"), src)
	Load(Param("lds"), lds)
	Label("twin")
	MOVQ(src, from)
	MOVQ(dst, to)
	MOVQ(pairs, left)
	Label("pair")
	VPMOVZXWD(Mem{Base: from}, x)
	VPMOVZXWD(Mem{Base: from, Index: lds, Scale: 1}, y)
	joinWords(x, y)
	VMOVUPS(reg.Y0, Mem{Base: to})
	VEXTRACTF32X8(U8(1), x, Mem{Base: to, Index: next, Scale: 1})
	LEAQ(Mem{Base: from, Index: lds, Scale: 2}, from)
	ADDQ(I32(32), to)
	DECQ(left)
	JNZ(LabelRef("pair"))
	ADDQ(I32(32), src)
	LEAQ(Mem{Base: dst, Index: next, Scale: 2}, dst)
	DECQ(twins)
	JNZ(LabelRef("twin"))
	end()
}

// pairMulAdds is mulAdds for pairs.
func (s *set) pairMulAdds() {
	const vectors = 24
	s.function("pairMulAdds", "func(n int, x, y *float32) float32",
		fmt.Sprintf("runs n rounds of z = z + x y on %d vectors z, zero at first, x and y being one pair each, and is the sum of their elements.", vectors))
	z, x, y := s.physical(0, vectors), reg.Z24, reg.Z25
	Load(Param("n"), reg.RCX)
	Load(Param("x"), reg.RSI)
	Load(Param("y"), reg.RDI)
	VBROADCASTSS(Mem{Base: reg.RSI}, x)
	VBROADCASTSS(Mem{Base: reg.RDI}, y)
	for _, z := range z {
		VPXORD(z, z, z)
	}
	TESTQ(reg.RCX, reg.RCX)
	JZ(LabelRef("done"))
	Label("round")
	for _, z := range z {
		dotProducts.emit(x, y, z)
	}
	DECQ(reg.RCX)
	JNZ(LabelRef("round"))
	Label("done")
	for _, z1 := range z[1:] {
		VADDPS(z1, z[0], z[0])
	}
	for _, order := range []uint8{0x4E, 0xB1} { // halves, then quarters
		VSHUFF32X4(U8(order), z[0], z[0], z[1])
		VADDPS(z[1], z[0], z[0])
	}
	for _, order := range []uint8{0x4E, 0xB1} { // within quarters
		VPERMILPS(U8(order), z[0], z[1])
		VADDPS(z[1], z[0], z[0])
	}
	Store(reg.X0, ReturnIndex(0))
	end()
}

func (s *set) writePairOrder() {
	if !s.wide {
		return
	}
	GLOBL(pairOrder+s.suffix, RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(uint32(i)|uint32(16+i)<<16))
	}
}

// roundBF16 is what the instructions do to a number, for sets without them: to
// nearest, ties to even; denormals become zero, and a NaN a quiet one.
func (s *set) roundBF16(x reg.VecVirtual) reg.VecVirtual {
	and := func(a uint32, x Op) reg.VecVirtual {
		return s.logic(func(a, b, x Op) { VANDPS(a, b, x) }, VPANDD, s.bits(a), x)
	}
	upper, up := s.vec(), s.vec()
	VPSRLD(U8(16), x, upper)
	odd := and(1, upper)
	VPADDD(s.bits(0x7fff), x, up)
	VPADDD(odd, up, up)
	size := s.abs(x)
	small, infinite := s.vec(), s.vec()
	VMOVUPS(s.bits(0x00800000), small)
	VMOVUPS(s.bits(0x7f800000), infinite)
	finite := s.choose(size, small, and(0x80000000, x), up)
	return and(0xffff0000, s.choose(size, infinite, finite, s.add(x, x)))
}
