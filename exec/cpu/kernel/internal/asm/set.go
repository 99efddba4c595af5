package main

import (
	"fmt"
	"log"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// set emits vector instructions of one instruction set: its methods are named
// after what they compute, and return a new register unless they say else.
type set struct {
	suffix string
	lanes  int
	wide   bool // AVX-512

	constants []uint32       // each replicated over 64 bytes
	offsets   map[uint32]int // bytes from the start of the table
	held      map[uint32]Op  // constants in registers of the function

	// The mask of the function's partial vector: mask register or vector.
	mask reg.Register
}

const constantTable = "constants"

// k is an operand with v in every lane, in memory unless it is held.
func (s *set) k(v float64) Op { return s.bits(math.Float32bits(float32(v))) }

func (s *set) bits(v uint32) Op {
	if x, ok := s.held[v]; ok {
		return x
	}
	return s.entry(v)
}

// hold keeps constants in registers for the rest of the function, where there
// are enough: a vector from memory costs AVX-512 as much as a multiply-add.
func (s *set) hold(values ...float64) {
	for _, v := range values {
		s.holdBits(math.Float32bits(float32(v)))
	}
}

func (s *set) holdBits(values ...uint32) {
	for _, bits := range values {
		if s.held[bits] != nil || !s.wide {
			continue
		}
		x := s.vec()
		VMOVUPS(s.entry(bits), x)
		s.held[bits] = x
	}
}

// entry is where a constant lies in the table.
func (s *set) entry(v uint32) Mem {
	if s.offsets == nil {
		s.offsets = map[uint32]int{}
	}
	at, ok := s.offsets[v]
	if !ok {
		at = 64 * len(s.constants)
		s.offsets[v] = at
		s.constants = append(s.constants, v)
	}
	return s.table(constantTable).Offset(at)
}

func (s *set) table(name string) Mem {
	return NewDataAddr(NewStaticSymbol(name+s.suffix), 0)
}

// tailTable holds 8 dwords of ones, then 8 of zeros: AVX2's masks.
const tailTable = "tails"

func (s *set) writeConstants() {
	GLOBL(constantTable+s.suffix, RODATA|NOPTR)
	for i, v := range s.constants {
		for j := range 16 {
			DATA(64*i+4*j, U32(v))
		}
	}
	if !s.wide {
		GLOBL(tailTable+s.suffix, RODATA|NOPTR)
		for j := range 16 {
			v := uint32(math.MaxUint32)
			if j >= 8 {
				v = 0
			}
			DATA(4*j, U32(v))
		}
	}
}

func (s *set) vec() reg.VecVirtual {
	if s.wide {
		return ZMM()
	}
	return YMM()
}

func (s *set) bytes() int { return 4 * s.lanes }

// setMask makes the mask of the first n lanes, 0 < n < lanes.
func (s *set) setMask(n reg.GPVirtual) {
	if s.wide {
		m, k := GP64(), K()
		MOVQ(U32(math.MaxUint32), m)
		BZHIQ(n, m, m)
		KMOVW(m.As32(), k)
		s.mask = k
		return
	}
	base, at, m := GP64(), GP64(), YMM()
	LEAQ(s.table(tailTable).Offset(32), base)
	MOVQ(n, at)
	NEGQ(at)
	VMOVUPS(Mem{Base: base, Index: at, Scale: 4}, m)
	s.mask = m
}

// load reads a vector, or its first lanes and zeros if masked.
func (s *set) load(m Mem, masked bool) reg.VecVirtual {
	x := s.vec()
	switch {
	case !masked:
		VMOVUPS(m, x)
	case s.wide:
		VMOVUPS_Z(m, s.mask, x)
	default:
		VMASKMOVPS(m, s.mask, x)
	}
	return x
}

func (s *set) store(x Op, m Mem, masked bool) {
	switch {
	case !masked:
		VMOVUPS(x, m)
	case s.wide:
		VMOVUPS(x, s.mask, m)
	default:
		VMASKMOVPS(x, s.mask, m)
	}
}

// only zeroes the lanes past the mask.
func (s *set) only(x reg.VecVirtual, masked bool) reg.VecVirtual {
	if !masked {
		return x
	}
	y := s.vec()
	if s.wide {
		VMOVAPS_Z(x, s.mask, y)
	} else {
		VANDPS(x, s.mask, y)
	}
	return y
}

// param broadcasts a float32 parameter.
func (s *set) param(name string) reg.VecVirtual { return s.broadcast(stackParam(name)) }

// stackParam is a parameter in memory.
func stackParam(name string) Op {
	c, err := Param(name).Resolve()
	if err != nil {
		log.Fatalf("asm: parameter %s: %v", name, err)
	}
	return c.Addr
}

func (s *set) broadcast(m Op) reg.VecVirtual {
	x := s.vec()
	VBROADCASTSS(m, x)
	return x
}

func (s *set) zero() reg.VecVirtual {
	x := s.vec()
	if s.wide {
		VPXORD(x, x, x)
	} else {
		VXORPS(x, x, x)
	}
	return x
}

// constant is v in a register to overwrite.
func (s *set) constant(v float64) reg.VecVirtual {
	x := s.vec()
	VMOVUPS(s.k(v), x)
	return x
}

// In the operations of two operands, the first may be in memory.

func (s *set) add(a, b Op) reg.VecVirtual { return s.two(VADDPS, a, b) }
func (s *set) mul(a, b Op) reg.VecVirtual { return s.two(VMULPS, a, b) }

// sub is b - a.
func (s *set) sub(a, b Op) reg.VecVirtual { return s.two(VSUBPS, a, b) }

// div is b / a.
func (s *set) div(a, b Op) reg.VecVirtual { return s.two(VDIVPS, a, b) }

// max and min give a if an operand is NaN.
func (s *set) max(a, b Op) reg.VecVirtual { return s.two(VMAXPS, a, b) }
func (s *set) min(a, b Op) reg.VecVirtual { return s.two(VMINPS, a, b) }

func (s *set) two(f func(...Op), a, b Op) reg.VecVirtual {
	x := s.vec()
	f(a, b, x)
	return x
}

func (s *set) logic(narrow func(a, b, x Op), wide func(...Op), a, b Op) reg.VecVirtual {
	x := s.vec()
	if s.wide {
		wide(a, b, x)
	} else {
		narrow(a, b, x)
	}
	return x
}

// abs clears signs, negative sets them.
func (s *set) abs(x Op) reg.VecVirtual {
	return s.logic(func(a, b, x Op) { VANDPS(a, b, x) }, VPANDD, s.bits(0x7fffffff), x)
}

// signed gives x, which is not negative, the signs of y.
func (s *set) signed(x, y Op) reg.VecVirtual {
	sign := s.logic(func(a, b, x Op) { VANDPS(a, b, x) }, VPANDD, s.bits(0x80000000), y)
	return s.logic(func(a, b, x Op) { VORPS(a, b, x) }, VPORD, x, sign)
}

// fma sets p = p a + b in place and returns it; b may be in memory.
func (s *set) fma(p reg.VecVirtual, a, b Op) reg.VecVirtual {
	VFMADD213PS(b, a, p)
	return p
}

// fmaTo sets p = p + a b in place; a may be in memory.
func (s *set) fmaTo(p reg.VecVirtual, a, b Op) reg.VecVirtual {
	VFMADD231PS(a, b, p)
	return p
}

// horner is the polynomial with the coefficients c, highest first.
func (s *set) horner(x Op, c ...float64) reg.VecVirtual {
	p := s.constant(c[0])
	for _, c := range c[1:] {
		s.fma(p, x, s.k(c))
	}
	return p
}

// choose is a where x < y, b elsewhere.
func (s *set) choose(x, y, a, b Op) reg.VecVirtual {
	const lessThan = U8(0x11) // ordered, quiet
	z := s.vec()
	if s.wide {
		k := K()
		VCMPPS(lessThan, y, x, k)
		VBLENDMPS(a, b, k, z)
		return z
	}
	m := s.vec()
	VCMPPS(lessThan, y, x, m)
	VBLENDVPS(m, a, b, z)
	return z
}

// halves gives the lower half of x, which is x itself, and the upper.
func (s *set) halves(x reg.VecVirtual) (lo, hi reg.Register) {
	if s.wide {
		hi := YMM()
		VEXTRACTF64X4(U8(1), x, hi)
		return x.AsY(), hi
	}
	return x.AsX(), s.upper(x)
}

// upper is the upper half of 256 bits.
func (s *set) upper(y reg.Register) reg.VecVirtual {
	hi := XMM()
	if s.wide { // VEX instructions reach half of the registers only
		VEXTRACTF32X4(U8(1), y, hi)
	} else {
		VEXTRACTF128(U8(1), y, hi)
	}
	return hi
}

// quarter combines the parts of x by f into 128 bits.
func (s *set) quarter(x reg.VecVirtual, f func(...Op)) reg.VecVirtual {
	sum := XMM()
	if !s.wide {
		lo, hi := s.halves(x)
		f(hi, lo, sum)
		return sum
	}
	lo, hi := s.halves(x)
	y := YMM()
	f(hi, lo, y)
	f(s.upper(y), y.AsX(), sum)
	return sum
}

// fold combines the lanes of x by f.
func (s *set) fold(x reg.VecVirtual, f func(...Op)) reg.VecVirtual {
	sum := s.quarter(x, f)
	for _, shuffle := range []uint8{0x4E, 0xB1} {
		t := XMM()
		VPERMILPS(U8(shuffle), sum, t)
		f(t, sum, sum)
	}
	return sum
}

// function starts a function of this set.
func (s *set) function(name, signature, doc string) {
	s.held = map[uint32]Op{}
	TEXT(name+s.suffix, NOSPLIT, signature)
	Pragma("noescape")
	Doc(fmt.Sprintf("%s%s %s", name, s.suffix, doc))
}

func end() {
	VZEROUPPER()
	RET()
}
