package exec

import (
	"maps"
	"slices"

	"github.com/galvani-ml/galvani/graph"
)

// LayerFigures is what a program computes and holds of one layer.
//
// States summed over all layers, and Saved summed and times [Options].Slots, are
// together the parameters, gradients, moments and activations of
// [Program.Memory], but for parameters that are borrowed.
type LayerFigures struct {
	Layer int
	// Params is the number of elements of parameters that the program holds.
	Params int64
	// States is what all slots share and every step needs, in bytes: parameters,
	// gradients, both moments, what is converted or summed once a step, and
	// the constants that the backward pass starts from.
	States int64
	// Saved is what a slot keeps of a micro-batch, in bytes: inputs, and what the
	// forward pass leaves to the backward pass.
	Saved int64
	// Alive is, at each instruction of the layer in their order, the bytes that
	// are alive beside States and Saved, of any layer: results, and scratch
	// memory. Peak is the most. Staging memory of exchanges is not among them.
	Alive []int64
	Peak  int64
	// Staging is the bytes of staging memory of each exchange of the layer that
	// takes some. They share it, with those of all layers.
	Staging []int64
	// Ops are the layer's instructions but exchanges, in the order in which the
	// first of each kind and pass runs.
	Ops []OpFigures
}

// OpFigures sums the instructions of one kind in one pass. What was fused has its
// joined kind, as "linear+activation".
type OpFigures struct {
	Kind  string
	Pass  graph.Pass
	Again bool // a forward operation that runs again for the backward pass
	Once  bool // once a step rather than with every micro-batch
	Count int
	FLOPs int64 // multiplications and additions; 0 where memory is the limit
	// Bytes is how many are read of operands and written of results. Of a table
	// that is looked up those of the rows taken count.
	Bytes int64
}

// Layers gives the figures of each layer that the program has anything of, in
// order.
func (p *Program) Layers() []LayerFigures {
	l := layers{}
	l.addBuffers(p)
	alive := p.alive()
	for i, pass := range [][]*step{p.prologue, p.forward, p.backward, p.epilogue} {
		for _, s := range pass {
			l.addStep(p, s, alive[s.pos], i == 0 || i == 3)
		}
	}
	var all []LayerFigures
	for _, n := range slices.Sorted(maps.Keys(l)) {
		all = append(all, *l[n])
	}
	return all
}

// layers holds figures by layer.
type layers map[int]*LayerFigures

func (l layers) of(layer int) *LayerFigures {
	f := l[layer]
	if f == nil {
		f = &LayerFigures{Layer: layer}
		l[layer] = f
	}
	return f
}

// addBuffers counts what outlives a pass.
func (l layers) addBuffers(p *Program) {
	for _, s := range p.shards {
		l.of(s.Param.Layer).Params += int64(s.size)
	}
	for _, b := range p.buffers {
		f := l.of(b.layer)
		switch n := int64(aligned(b.size)) * elementBytes; {
		case b.region == regionStaging:
			f.Staging = append(f.Staging, n)
		case !p.keeps(b) || p.opts.Borrow && b.region == regionParams:
		case b.region == regionSlots:
			f.Saved += n
		case b.region == regionGrads:
			f.States += 3 * n // and both moments
		default:
			f.States += n
		}
	}
}

// addStep counts an instruction.
func (l layers) addStep(p *Program, s *step, alive int64, once bool) {
	f := l.of(s.tag.Layer)
	f.Alive, f.Peak = append(f.Alive, alive), max(f.Peak, alive)
	if s.exchange != nil {
		return
	}
	kind := p.kinds[s.kind]
	i := slices.IndexFunc(f.Ops, func(o OpFigures) bool {
		return o.Kind == kind.name && o.Pass == kind.pass && o.Again == s.tag.Recompute && o.Once == once
	})
	if i < 0 {
		i = len(f.Ops)
		f.Ops = append(f.Ops, OpFigures{Kind: kind.name, Pass: kind.pass, Again: s.tag.Recompute, Once: once})
	}
	o := &f.Ops[i]
	o.Count++
	o.FLOPs += s.kernel.FLOPs
	o.Bytes += s.bytes()
}

// alive is the bytes that are alive at each position beside what outlives a
// pass.
func (p *Program) alive() []int64 {
	size := 0
	for _, s := range p.steps() {
		size = max(size, s.pos+1)
	}
	change := make([]int64, size+1)
	for _, b := range p.buffers {
		if n := p.bytes(b); !p.keeps(b) {
			change[min(b.start, size)] += n
			change[min(b.end+1, size)] -= n
		}
	}
	for pos := range size {
		change[pos+1] += change[pos]
	}
	return change
}

// bytes is how many the instruction reads and writes. What it adds to is read as
// well.
func (s *step) bytes() int64 {
	var sum int64
	for i, v := range s.in {
		if s.lookUp && i == 1 {
			v = s.out[0] // as many rows of the table
		}
		sum += v.bytes()
	}
	for k, v := range s.out {
		switch {
		case s.modes[k] != writeAdd:
			sum += v.bytes()
		case s.addRows:
			sum += 2 * s.in[1].bytes()
		default:
			sum += 2 * v.bytes()
		}
	}
	return sum
}

// bytes is the size of a value.
func (v *value) bytes() int64 {
	if v.bf16 {
		return int64(v.typ.Size()) * elementBytes / 2
	}
	return int64(v.typ.Size()) * elementBytes
}
