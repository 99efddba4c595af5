package exec

import "slices"

// Span is where and when a buffer holds something, worked out anew from the
// instructions' operands alone.
type Span struct {
	Name         string
	Region       string
	From, To     int // elements, in the arena, of slot 0
	First, Last  int // positions
	Pinned, Kept bool
}

// Spans recomputes the life of everything in the arena: from its first write
// to its last read by any instruction or, for logits and loss, by the caller.
func (p *Program) Spans() []Span {
	spans := map[*buffer]*Span{}
	touch := func(b *buffer, pos int) {
		s := spans[b]
		if s == nil {
			from := p.layout.base[b.region] + b.offset
			s = &Span{Name: b.name, Region: regionNames[b.region], From: from, To: from + b.size, First: pos, Last: pos, Pinned: b.pinned}
			spans[b] = s
		}
		s.First, s.Last = min(s.First, pos), max(s.Last, pos)
		s.Kept = s.First <= p.border && s.Last >= p.border
	}
	for _, s := range p.steps() {
		for _, v := range slices.Concat(s.in, s.out) {
			touch(v.buf, s.begins)
			touch(v.buf, s.ends)
		}
		if s.scratch != nil {
			touch(s.scratch, s.pos)
		}
	}
	for _, v := range []*value{p.logits, p.loss} {
		if v != nil {
			touch(v.buf, p.border)
		}
	}
	var all []Span
	for _, b := range p.buffers {
		if s := spans[b]; s != nil && !(p.opts.Borrow && b.region == regionParams) {
			all = append(all, *s)
		}
	}
	return all
}

// SlotRange is where the slots lie.
func (p *Program) SlotRange() (from, to int) {
	from = p.layout.base[regionSlots]
	return from, from + p.layout.size[regionSlots]*p.opts.Slots
}

// Arena is the machine's memory.
func (m *Machine) Arena() []float32 { return m.arena }

// Instructions are the numbers of instructions of both passes.
func (p *Program) Instructions() (forward, backward int) { return len(p.forward), len(p.backward) }
