package exec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

// Class says what memory is for.
type Class uint8

// The classes of memory.
const (
	Parameters     Class = iota
	Gradients            // of the parameters
	OptimizerState       // both moments of AdamW
	Activations          // inputs, and what forward leaves to backward, of all slots; states
	Workspace            // values within a pass, kernels' scratch, and the back end's own memory
	Communication        // staging for collectives
	classes
)

var classNames = [classes]string{"parameters", "gradients", "optimizer", "activations", "workspace", "communication"}

// String names the class.
func (c Class) String() string { return classNames[c] }

var classOf = [regions]Class{
	regionParams: Parameters, regionGrads: Gradients, regionFirst: OptimizerState, regionSecond: OptimizerState,
	regionOnce: Parameters, regionSums: Gradients,
	regionStates: Activations, regionSlots: Activations, regionWork: Workspace, regionStaging: Communication,
}

// Memory is planned bytes by class.
type Memory [classes]int64

// Total is the sum of all classes.
func (m Memory) Total() int64 {
	var sum int64
	for _, n := range m {
		sum += n
	}
	return sum
}

// String gives the total, and the classes that take memory in parentheses.
func (m Memory) String() string {
	var parts []string
	for c, n := range m {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%v %s", Class(c), size(n)))
		}
	}
	return fmt.Sprintf("%s (%s)", size(m.Total()), strings.Join(parts, ", "))
}

// MarshalJSON gives an object of bytes by class.
func (m Memory) MarshalJSON() ([]byte, error) {
	var fields []string
	for c, n := range m {
		fields = append(fields, fmt.Sprintf("%q:%d", Class(c), n))
	}
	return []byte("{" + strings.Join(fields, ",") + "}"), nil
}

// Classes lists all classes.
func Classes() []Class {
	all := make([]Class, classes)
	for c := range all {
		all[c] = Class(c)
	}
	return all
}

func size(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

const elementBytes = 4 // of float32, int32, and two of bf16

// Memory is what the program needs: the arena that [New] allocates, and the
// back end's own.
func (p *Program) Memory() Memory {
	var m Memory
	for r, n := range p.layout.size {
		if region(r) == regionSlots {
			n *= p.opts.Slots
		}
		m[classOf[r]] += int64(n) * elementBytes
	}
	m[Workspace] += p.backend.Overhead()
	return m
}

// Buffer is one planned piece of memory.
type Buffer struct {
	Name  string // of the parameter, input or operation
	Layer int
	Class Class
	Bytes int64 // in all slots
}

// Largest returns the n largest buffers, largest first. Buffers of the
// workspace share memory, so their sum is no total.
func (p *Program) Largest(n int) []Buffer {
	var all []Buffer
	for _, b := range p.buffers {
		all = append(all, Buffer{b.name, b.layer, classOf[b.region], p.bytes(b)})
	}
	slices.SortStableFunc(all, func(a, b Buffer) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return all[:min(n, len(all))]
}

// bytes is a buffer's size, in all slots if each has it for itself.
func (p *Program) bytes(b *buffer) int64 {
	n := int64(aligned(b.size)) * elementBytes
	if b.region == regionSlots && p.keeps(b) {
		n *= int64(p.opts.Slots)
	}
	return n
}

// keeps reports whether b's memory outlives the pass that writes it.
func (p *Program) keeps(b *buffer) bool {
	return b.pinned || b.start <= p.border && b.end >= p.border
}

// MemoryError says that a program does not fit a budget.
type MemoryError struct {
	Budget     int64 // bytes
	Memory     Memory
	Layer      int    // the layer that takes most
	LayerName  string // its largest buffer
	LayerBytes int64
}

// Missing is how many bytes the program takes too much.
func (e *MemoryError) Missing() int64 { return e.Memory.Total() - e.Budget }

// Error names the missing bytes, the largest layer, and what helps.
func (e *MemoryError) Error() string {
	return fmt.Sprintf("exec: the plan needs %v: %s (%d bytes) more than the budget of %s; layer %d (%s) takes most, %s: use more micro-batches, checkpointing, or more workers",
		e.Memory, size(e.Missing()), e.Missing(), size(e.Budget), e.Layer, e.LayerName, size(e.LayerBytes))
}

// CheckBudget returns a [*MemoryError] if the program needs more than budget
// bytes.
func (p *Program) CheckBudget(budget int64) error {
	m := p.Memory()
	if m.Total() <= budget {
		return nil
	}
	e := &MemoryError{Budget: budget, Memory: m}
	e.Layer, e.LayerBytes = p.largestLayer()
	var most int64
	for _, b := range p.buffers {
		if n := p.bytes(b); b.layer == e.Layer && n > most {
			most, e.LayerName = n, b.name
		}
	}
	return e
}

// largestLayer finds the layer that takes most: what it keeps, and the most
// that is alive besides while it runs.
func (p *Program) largestLayer() (layer int, bytes int64) {
	for _, f := range p.Layers() {
		if n := f.States + int64(p.opts.Slots)*f.Saved + f.Peak; n > bytes {
			layer, bytes = f.Layer, n
		}
	}
	return layer, bytes
}
