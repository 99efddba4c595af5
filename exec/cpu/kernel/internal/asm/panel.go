package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// panels writes the packing of panels.
func (s *set) panels() {
	s.copyPanel()
	s.prefetchRows()
	s.splitRows()
}

// prefetchRows asks for rows of a matrix before they are packed.
func (s *set) prefetchRows() {
	s.function("prefetchRows", "func(rows, lines int, src *float32, lds int)",
		"brings lines of 64 bytes of each row, lds bytes apart, into the L2 cache.")
	n, lines, src, lds := Load(Param("rows"), GP64()), Load(Param("lines"), GP64()), Load(Param("src"), GP64()), Load(Param("lds"), GP64())
	at, left := GP64(), GP64()
	Label("row")
	MOVQ(src, at)
	MOVQ(lines, left)
	Label("line")
	PREFETCHT1(Mem{Base: at})
	ADDQ(I32(64), at)
	DECQ(left)
	JNZ(LabelRef("line"))
	ADDQ(lds, src)
	DECQ(n)
	JNZ(LabelRef("row"))
	end()
}

// splitRows deals rows out to panels of 8 columns.
func (s *set) splitRows() {
	const width = 8
	s.function("splitRows", "func(panels, rows int, dst *float32, next int, src *float32, lds int)",
		"copies rows of 8 elements, lds bytes apart, one after the other; then those of the next panel, next bytes on in dst.")
	panels, rows := Load(Param("panels"), GP64()), Load(Param("rows"), GP64())
	dst, next := Load(Param("dst"), GP64()), Load(Param("next"), GP64())
	src, lds := Load(Param("src"), GP64()), Load(Param("lds"), GP64())
	from, to, left := GP64(), GP64(), GP64()
	Label("panel")
	MOVQ(src, from)
	MOVQ(dst, to)
	MOVQ(rows, left)
	Label("row")
	x := YMM()
	VMOVUPS(Mem{Base: from}, x)
	VMOVUPS(x, Mem{Base: to})
	ADDQ(lds, from)
	ADDQ(I32(4*width), to)
	DECQ(left)
	JNZ(LabelRef("row"))
	ADDQ(I32(4*width), src)
	ADDQ(next, dst)
	DECQ(panels)
	JNZ(LabelRef("panel"))
	end()
}

// copyPanel packs a panel of B.
func (s *set) copyPanel() {
	vectors := 2
	if s.wide {
		vectors = 3
	}
	s.function("copyPanel", "func(rows int, dst *float32, src *float32, lds int)",
		fmt.Sprintf("copies rows of %d elements, lds bytes apart, one after the other.", vectors*s.lanes))
	n, dst, src, lds := Load(Param("rows"), GP64()), Load(Param("dst"), GP64()), Load(Param("src"), GP64()), Load(Param("lds"), GP64())
	Label("row")
	var x []reg.VecVirtual
	for v := range vectors {
		x = append(x, s.load(Mem{Base: src, Disp: v * s.bytes()}, false))
	}
	for v := range vectors {
		s.store(x[v], Mem{Base: dst, Disp: v * s.bytes()}, false)
	}
	ADDQ(lds, src)
	ADDQ(I32(vectors*s.bytes()), dst)
	DECQ(n)
	JNZ(LabelRef("row"))
	end()
}
