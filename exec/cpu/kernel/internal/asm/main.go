// Command asm writes the assembly of package kernel with avo. It is a module of
// its own so that the main module does not depend on avo; go generate in the
// kernel folder runs it.
//
// A loop is written once, in terms of set, which emits AVX-512 or AVX2
// instructions. Only the matrix micro-kernels differ between the two.
package main

import (
	"flag"
	"log"

	. "github.com/mmcloughlin/avo/build"
)

func main() {
	log.SetFlags(0)
	name := flag.String("set", "", "instruction set: base, avx2 or avx512")
	flag.Parse()
	ConstraintExpr("amd64")
	switch *name {
	case "base":
		pause()
	case "avx2":
		emit(&set{suffix: "AVX2", lanes: 8})
	case "avx512":
		emit(&set{suffix: "AVX512", lanes: 16, wide: true})
	default:
		log.Fatalf("asm: unknown instruction set %q: use base, avx2 or avx512", *name)
	}
	Generate()
}

// emit writes every function of an instruction set.
func emit(s *set) {
	s.microKernels()
	s.dotKernels()
	s.transposes()
	s.panels()
	s.elementwise()
	s.reductions()
	s.norms()
	s.columns()
	s.attention()
	s.adamW()
	s.dropout()
	s.pairKernels()
	s.peaks()
	s.writeBlocks()
	s.writeHideTable()
	s.writePairOrder()
	s.writeConstants()
}
