package exec

import (
	"fmt"
	"strings"
)

// Letters of the regions in listings.
var regionNames = [regions]string{"param", "grad", "m", "v", "once", "sum", "state", "slot", "work", "stage"}

// Describe lists the instructions, one a line: position, operation, place in
// the model, and the results and operands as region+offset[shape], offsets in
// elements of 4 bytes; after bf16 what is stored so. A gradient is marked "set" where the first micro-batch overwrites
// it and "add" where it is added to. Scratch memory comes next, then the
// exchanges beside the computation that the instruction waits for, and the
// position after which one of the epilogue may start.
func (p *Program) Describe() string {
	var b strings.Builder
	for r, n := range p.layout.size {
		if n > 0 {
			fmt.Fprintf(&b, "%s %d elements", regionNames[r], n)
			if region(r) == regionSlots {
				fmt.Fprintf(&b, ", %d times", p.opts.Slots)
			}
			b.WriteByte('\n')
		}
	}
	for _, pass := range []struct {
		name  string
		steps []*step
	}{{"prologue", p.prologue}, {"forward", p.forward}, {"backward", p.backward}, {"epilogue", p.epilogue}} {
		if len(pass.steps) > 0 {
			fmt.Fprintf(&b, "%s\n", pass.name)
		}
		for _, s := range pass.steps {
			p.describe(&b, s)
		}
	}
	return b.String()
}

func (p *Program) describe(b *strings.Builder, s *step) {
	fmt.Fprintf(b, "%4d %-33s %-2d %-16s", s.pos, p.kinds[s.kind].name, s.tag.Layer, s.tag.Name)
	for k, v := range s.out {
		fmt.Fprintf(b, " %v", v)
		switch s.modes[k] {
		case writeFirst:
			b.WriteString(":set")
		case writeAdd:
			b.WriteString(":add")
		}
	}
	b.WriteString(" =")
	for _, v := range s.in {
		fmt.Fprintf(b, " %v", v)
	}
	if s.scratch != nil {
		fmt.Fprintf(b, " scratch %v(%d)", s.scratch, s.scratch.size)
	}
	for _, w := range s.waits {
		fmt.Fprintf(b, " after %d", w.pos)
	}
	if s.early {
		fmt.Fprintf(b, " from %d", s.begins)
	}
	b.WriteByte('\n')
}

// String gives the place of v and its shape.
func (v *value) String() string {
	if v.bf16 {
		return fmt.Sprintf("%vbf16%v", v.buf, []int(v.typ.Shape))
	}
	return fmt.Sprintf("%v%v", v.buf, []int(v.typ.Shape))
}

// String gives the place of b.
func (b *buffer) String() string { return fmt.Sprintf("%s+%d", regionNames[b.region], b.offset) }
