package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// transposes writes the transposition of blocks of 8 rows, and in AVX-512 of 16.
func (s *set) transposes() {
	s.transpose8()
	if s.wide {
		s.transpose16("transpose16", false)
	}
}

const transposeSignature = "func(blocks int, src *float32, lds int, dst *float32, ldd int)"

// transpose8 sets dst[c*ldd+r] = src[r*lds+c] for r < 8, c < 8 blocks.
func (s *set) transpose8() {
	s.function("transpose8", transposeSignature, "sets dst[c*ldd+r] = src[r*lds+c] for r < 8, c < 8*blocks; strides in bytes.")
	n, src, dst := Load(Param("blocks"), GP64()), Load(Param("src"), GP64()), Load(Param("dst"), GP64())
	lds, ldd := Load(Param("lds"), GP64()), Load(Param("ldd"), GP64())
	lds3, src4 := GP64(), GP64()
	LEAQ(Mem{Base: lds, Index: lds, Scale: 2}, lds3)
	LEAQ(Mem{Base: src, Index: lds, Scale: 4}, src4)
	Label("loop")
	var row, pair, quad [8]reg.VecVirtual
	for i, base := range []reg.Register{src, src4} {
		for j, m := range fourRows(base, lds, lds3) {
			row[4*i+j] = YMM()
			VMOVUPS(m, row[4*i+j])
		}
	}
	for i := range 4 {
		pair[2*i], pair[2*i+1] = YMM(), YMM()
		VUNPCKLPS(row[2*i+1], row[2*i], pair[2*i])
		VUNPCKHPS(row[2*i+1], row[2*i], pair[2*i+1])
	}
	for i := range 2 {
		b := 4 * i
		for j := range 2 {
			quad[b+2*j], quad[b+2*j+1] = YMM(), YMM()
			VUNPCKLPD(pair[b+2+j], pair[b+j], quad[b+2*j])
			VUNPCKHPD(pair[b+2+j], pair[b+j], quad[b+2*j+1])
		}
	}
	for _, order := range []uint8{0x20, 0x31} {
		for c := range 4 {
			y := YMM()
			VPERM2F128(U8(order), quad[4+c], quad[c], y)
			VMOVUPS(y, Mem{Base: dst})
			ADDQ(ldd, dst)
		}
	}
	ADDQ(I32(32), src)
	ADDQ(I32(32), src4)
	DECQ(n)
	JNZ(LabelRef("loop"))
	end()
}

// fourRows addresses four rows from base on.
func fourRows(base, ld, ld3 reg.Register) [4]Mem {
	return [4]Mem{
		{Base: base}, {Base: base, Index: ld, Scale: 1},
		{Base: base, Index: ld, Scale: 2}, {Base: base, Index: ld3, Scale: 1},
	}
}

// transpose16 writes transpose8 for 16 rows and blocks of 16 columns, or, of
// pairs, of 16 pairs made of 32 columns.
func (s *set) transpose16(name string, pairs bool) {
	doc := "sets dst[c*ldd+r] = src[r*lds+c] for r < 16, c < 16*blocks; strides in bytes."
	width := 64
	if pairs {
		doc = "sets dst[c*ldd+r] to the pair of src[r*lds+2c] and the next for r < 16, c < 16*blocks; strides in bytes."
		width = 128
	}
	s.function(name, transposeSignature, doc)
	n, src, dst, lds, ldd := reg.RCX, reg.RSI, reg.RDI, reg.R8, reg.R9
	lds3, ldd3, at := reg.R10, reg.R11, reg.RAX
	Load(Param("blocks"), n)
	Load(Param("src"), src)
	Load(Param("lds"), lds)
	Load(Param("dst"), dst)
	Load(Param("ldd"), ldd)
	LEAQ(Mem{Base: lds, Index: lds, Scale: 2}, lds3)
	LEAQ(Mem{Base: ldd, Index: ldd, Scale: 2}, ldd3)
	x, y := s.physical(0, 16), s.physical(16, 16) // each step goes from one to the other
	Label("loop")
	MOVQ(src, at)
	for g := range 4 {
		for i, m := range fourRows(at, lds, lds3) {
			row := x[4*g+i]
			VMOVUPS(m, row)
			if pairs {
				VMOVUPS(m.Offset(64), y[i])
				toPairs.emit(row, y[i], row)
			}
		}
		if g < 3 {
			LEAQ(Mem{Base: at, Index: lds, Scale: 4}, at)
		}
	}
	for p := range 8 {
		VUNPCKLPS(x[2*p+1], x[2*p], y[2*p])
		VUNPCKHPS(x[2*p+1], x[2*p], y[2*p+1])
	}
	// x[4g+c], lane l: rows 4g to 4g+3 of column 4l+c.
	for g := range 4 {
		b := 4 * g
		VUNPCKLPD(y[b+2], y[b], x[b])
		VUNPCKHPD(y[b+2], y[b], x[b+1])
		VUNPCKLPD(y[b+3], y[b+1], x[b+2])
		VUNPCKHPD(y[b+3], y[b+1], x[b+3])
	}
	// Even and odd lanes of two groups, then of all four.
	const even, odd = U8(0x88), U8(0xDD)
	for c := range 4 {
		VSHUFF32X4(even, x[4+c], x[c], y[c])
		VSHUFF32X4(odd, x[4+c], x[c], y[4+c])
		VSHUFF32X4(even, x[12+c], x[8+c], y[8+c])
		VSHUFF32X4(odd, x[12+c], x[8+c], y[12+c])
	}
	for c := range 4 {
		VSHUFF32X4(even, y[8+c], y[c], x[c])
		VSHUFF32X4(odd, y[8+c], y[c], x[8+c])
		VSHUFF32X4(even, y[12+c], y[4+c], x[4+c])
		VSHUFF32X4(odd, y[12+c], y[4+c], x[12+c])
	}
	for g := range 4 {
		for i, m := range fourRows(dst, ldd, ldd3) {
			VMOVUPS(x[4*g+i], m)
		}
		LEAQ(Mem{Base: dst, Index: ldd, Scale: 4}, dst)
	}
	ADDQ(I32(int32(width)), src)
	DECQ(n)
	JNZ(LabelRef("loop"))
	end()
}
