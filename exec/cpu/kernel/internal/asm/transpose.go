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
		s.transpose16()
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

// transpose16 is transpose8 for 16 rows and blocks of 16 columns.
func (s *set) transpose16() {
	s.function("transpose16", transposeSignature, "sets dst[c*ldd+r] = src[r*lds+c] for r < 16, c < 16*blocks; strides in bytes.")
	n, src, dst := Load(Param("blocks"), GP64()), Load(Param("src"), GP64()), Load(Param("dst"), GP64())
	lds, ldd := Load(Param("lds"), GP64()), Load(Param("ldd"), GP64())
	lds3, ldd3, at := GP64(), GP64(), GP64()
	LEAQ(Mem{Base: lds, Index: lds, Scale: 2}, lds3)
	LEAQ(Mem{Base: ldd, Index: ldd, Scale: 2}, ldd3)
	z := func(n int) (x []reg.VecVirtual) {
		for range n {
			x = append(x, ZMM())
		}
		return x
	}
	Label("loop")
	MOVQ(src, at)
	row, pair, quad, mixed, out := z(16), z(16), z(16), z(16), z(16)
	for g := range 4 {
		for i, m := range fourRows(at, lds, lds3) {
			VMOVUPS(m, row[4*g+i])
		}
		if g < 3 {
			LEAQ(Mem{Base: at, Index: lds, Scale: 4}, at)
		}
	}
	for p := range 8 {
		VUNPCKLPS(row[2*p+1], row[2*p], pair[2*p])
		VUNPCKHPS(row[2*p+1], row[2*p], pair[2*p+1])
	}
	// quad[4g+c], lane l: rows 4g to 4g+3 of column 4l+c.
	for g := range 4 {
		b := 4 * g
		VUNPCKLPD(pair[b+2], pair[b], quad[b])
		VUNPCKHPD(pair[b+2], pair[b], quad[b+1])
		VUNPCKLPD(pair[b+3], pair[b+1], quad[b+2])
		VUNPCKHPD(pair[b+3], pair[b+1], quad[b+3])
	}
	// Even and odd lanes of two groups, then of all four.
	const even, odd = U8(0x88), U8(0xDD)
	for c := range 4 {
		VSHUFF32X4(even, quad[4+c], quad[c], mixed[c])
		VSHUFF32X4(odd, quad[4+c], quad[c], mixed[4+c])
		VSHUFF32X4(even, quad[12+c], quad[8+c], mixed[8+c])
		VSHUFF32X4(odd, quad[12+c], quad[8+c], mixed[12+c])
	}
	for c := range 4 {
		VSHUFF32X4(even, mixed[8+c], mixed[c], out[c])
		VSHUFF32X4(odd, mixed[8+c], mixed[c], out[8+c])
		VSHUFF32X4(even, mixed[12+c], mixed[4+c], out[4+c])
		VSHUFF32X4(odd, mixed[12+c], mixed[4+c], out[12+c])
	}
	for g := range 4 {
		for i, m := range fourRows(dst, ldd, ldd3) {
			VMOVUPS(out[4*g+i], m)
		}
		LEAQ(Mem{Base: dst, Index: ldd, Scale: 4}, dst)
	}
	ADDQ(I32(64), src)
	DECQ(n)
	JNZ(LabelRef("loop"))
	end()
}
