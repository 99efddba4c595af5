package exec

import (
	"cmp"
	"math"
	"slices"
)

// A region is a part of the arena.
type region uint8

const (
	regionParams region = iota
	regionGrads
	regionFirst // moments of AdamW
	regionSecond
	regionOnce // parameters as the prologue converts them
	regionSums // gradients that the epilogue reads
	regionStates
	regionSlots
	regionWork
	regionStaging
	regions
)

// buffer is memory for one value after another, at [offset, offset+size) of
// its region.
type buffer struct {
	name   string // of the leaf or operation it was made for
	layer  int
	size   int // elements of 4 bytes
	region region
	offset int // elements; from the slot's start in regionSlots
	pinned bool
	// start and end are the first and the last position at which the buffer
	// holds something, where it is not pinned.
	start, end int
}

// overlaps reports whether both hold something at the same time.
func (b *buffer) overlaps(o *buffer) bool {
	return b.pinned || o.pinned || b.start <= o.end && o.start <= b.end
}

// place gives each result a buffer: that of an operand where the kernel can
// work in place and nothing reads the operand afterwards, else a new one.
func (c *compiler) place() {
	for _, s := range c.steps() {
		for k, v := range s.out {
			if v.buf != nil {
				continue
			}
			if k == 0 && c.opts.does(InPlace) {
				v.buf = reusable(s)
			}
			if v.buf == nil {
				v.buf = c.buffer(v.tag, v.size())
				v.buf.start = s.begins
			}
			v.buf.end = max(v.buf.end, v.last)
		}
		s.keep()
		if s.scratch != nil {
			s.scratch.start, s.scratch.end = s.pos, s.pos
		}
	}
}

// reusable returns the buffer of an operand that the result of s may overwrite,
// nil if there is none.
func reusable(s *step) *buffer {
	size := s.out[0].size()
	for _, i := range s.kernel.InPlace {
		b := s.in[i].buf
		if b.pinned || b.size != size || b.end > s.pos || s.in[i].bf16 != s.out[0].bf16 {
			continue
		}
		elsewhere := false // also read by an operand that must be kept
		for j, v := range s.in {
			elsewhere = elsewhere || v.buf == b && !slices.Contains(s.kernel.InPlace, j)
		}
		if !elsewhere {
			return b
		}
	}
	return nil
}

// layout says where the regions lie, in elements.
type layout struct {
	base [regions]int
	size [regions]int // of one slot in regionSlots
	all  int
}

const alignment = 16 // elements: 64 bytes

func aligned(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// arrange gives each buffer its offset and each region its place.
func arrange(p *Program) layout {
	var l layout
	for _, s := range p.shards {
		l.size[regionParams] = max(l.size[regionParams], s.offset+aligned(s.size))
	}
	if p.opts.Train {
		for _, r := range []region{regionGrads, regionFirst, regionSecond} {
			l.size[r] = l.size[regionParams]
		}
	}
	if p.opts.Borrow {
		l.size[regionParams] = 0
	}
	l.size[regionStaging] = aligned(messageSize)
	slot, work := packBuffers(p, &l)
	l.size[regionSlots], l.size[regionWork] = slot, work
	for r := range regions {
		l.base[r] = l.all
		if r == regionSlots {
			l.all += l.size[r] * p.opts.Slots
		} else {
			l.all += l.size[r]
		}
	}
	return l
}

// packBuffers places all buffers but the parameters'. A slot holds inputs and
// what lives past the end of the forward pass, in the order in which it is
// written. All else goes, largest first, into memory of the slot that is free
// at the time, or else into the workspace (Pisarchyk and Lee, Efficient Memory
// Management for Deep Neural Net Inference, 2020: greedy by size).
func packBuffers(p *Program, l *layout) (slotSize, workSize int) {
	var slot, work packing
	var rest []*buffer
	for _, b := range p.buffers {
		switch {
		case b.pinned && slices.Contains([]region{regionOnce, regionSums, regionStates}, b.region):
			b.offset = l.size[b.region]
			l.size[b.region] += aligned(b.size)
		case b.region == regionStaging:
			l.size[regionStaging] = max(l.size[regionStaging], aligned(b.size))
		case b.pinned && b.region == regionSlots, !b.pinned && b.start <= p.border && b.end >= p.border:
			b.region = regionSlots
			slot.append(b)
		case !b.pinned:
			rest = append(rest, b)
		}
	}
	slices.SortStableFunc(rest, func(a, b *buffer) int {
		return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.start, b.start))
	})
	limit := slot.height
	for _, b := range rest {
		b.region = regionSlots
		if !slot.fit(b, limit) {
			b.region = regionWork
			work.fit(b, math.MaxInt)
		}
	}
	return slot.height, work.height
}

// packing is a set of placed buffers, by offset.
type packing struct {
	placed []*buffer
	height int
}

// append places b after all others.
func (p *packing) append(b *buffer) {
	b.offset = p.height
	p.placed = append(p.placed, b)
	p.height += aligned(b.size)
}

// fit places b in the smallest gap that is free during its life, or above all
// that is alive with it, and reports whether that is below limit.
func (p *packing) fit(b *buffer, limit int) bool {
	best, bestGap, top := -1, math.MaxInt, 0
	need := aligned(b.size)
	for _, o := range p.placed {
		if !o.overlaps(b) {
			continue
		}
		if gap := o.offset - top; gap >= need && gap < bestGap {
			best, bestGap = top, gap
		}
		top = max(top, o.offset+aligned(o.size))
	}
	if best < 0 {
		if best = top; limit-need < top {
			return false
		}
	}
	b.offset = best
	at, _ := slices.BinarySearchFunc(p.placed, best, func(o *buffer, offset int) int {
		return cmp.Compare(o.offset, offset)
	})
	p.placed = slices.Insert(p.placed, at, b)
	p.height = max(p.height, best+need)
	return true
}
