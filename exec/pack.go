package exec

// Packing says that a kernel is faster on another layout of one of its
// operands. Where that is a parameter, the pass [Pack] keeps it in that layout
// for a whole step.
type Packing struct {
	Operand int
	// Layout tells layouts of one operand apart. Equal layouts are shared.
	Layout any
	Size   int // elements
	// Pack writes the operand to dst in the layout.
	Pack func(dst, src []float32)
}

// packed is a parameter in another layout.
type packed struct {
	Packing
	param *value
	buf   *buffer
}

// pack has s read a parameter packed, if its kernel asks for it.
func (c *compiler) pack(s *step) {
	if s.kernel == nil || s.kernel.Packing == nil || !c.opts.does(Pack) {
		return
	}
	p := *s.kernel.Packing
	v := s.in[p.Operand]
	if v.buf == nil || v.buf.region != regionParams {
		return
	}
	for _, have := range c.packs {
		if have.param == v && have.Layout == p.Layout {
			s.packed = have.buf
			return
		}
	}
	s.packed = c.buffer(v.tag, p.Size)
	s.packed.region, s.packed.pinned = regionOnce, true
	c.packs = append(c.packs, &packed{p, v, s.packed})
}

// bindPacks gives what is packed its memory.
func (m *Machine) bindPacks(at func(*buffer, int) []float32) {
	for _, p := range m.program.packs {
		dst, src := at(p.buf, 0), at(p.param.buf, 0)
		m.repack = append(m.repack, func() { p.Pack(dst, src) })
	}
}
