package exec

import (
	"slices"
	"unsafe"
)

// narrow finds the values that are stored in bf16: one kernel makes them and
// can round them to it, and all that read them would. Each is rounded once, so
// products see the same bits.
func (c *compiler) narrow() {
	if !c.opts.does(Narrow) {
		return
	}
	read, float := map[*value]bool{}, map[*value]bool{c.logits: true, c.loss: true}
	for _, s := range c.steps() {
		for i, v := range s.in {
			read[v] = true
			float[v] = float[v] || !slices.Contains(s.kernel.Rounds, i)
		}
	}
	for _, s := range c.steps() {
		for k, v := range s.out {
			v.bf16 = v.buf == nil && read[v] && !float[v] && slices.Contains(s.kernel.Narrows, k)
		}
	}
}

// inBF16 takes those of values that are stored in bf16 out of their memory and
// returns them, nil if there are none.
func inBF16(values []*value, memory [][]float32) [][]uint16 {
	var words [][]uint16
	for i, v := range values {
		if !v.bf16 {
			continue
		}
		if words == nil {
			words = make([][]uint16, len(values))
		}
		words[i] = unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(memory[i]))), v.typ.Size())
		memory[i] = nil
	}
	return words
}
