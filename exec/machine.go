package exec

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/galvani-ml/galvani/graph"
	"gorgonia.org/tensor"
)

// Machine runs a program. It is used by one goroutine at a time.
type Machine struct {
	program *Program
	comm    Comm
	arena   []float32
	shared  [regions][]float32 // in place of the arena's, of regions that collectives read and write
	weights [][]float32        // the parameters, as in the stage

	prologue, forward, backward, epilogue []instruction

	inputs       []map[string]Tensor // of each slot
	logits, loss [][]float32         // of each slot, nil without
	sumLoss      float64             // over the step's micro-batches
	message      []float32
	profile      []KindTime  // nil while not profiling
	layerTimes   []LayerTime // nil while not profiling

	owner    *Machine   // whose parameters these are: itself, or the one that lends
	changes  uint64     // how often the parameters changed
	repack   []func()   // packs what is packed of the parameters
	prepared uint64     // owner.changes when the prologue ran; 0 for never
	last     MicroBatch // of the last backward pass

	queue    *queue // nil where nothing runs beside the computation
	reducing bool   // sums of gradients may have begun in the last backward pass
	waited   Waited

	computing, exchanging place
}

// instruction is a step with its memory, of each slot.
type instruction struct {
	*step
	args []Args
	at   landmark
}

// Tensor is a view of memory: Ints if the type is int32, else Floats.
type Tensor struct {
	graph.Type
	Floats []float32
	Ints   []int32
}

// Param is a view of a parameter's shard and what belongs to it. Grad, M and V
// are nil unless the program trains.
type Param struct {
	Shard             *graph.Shard
	Value, Grad, M, V []float32
}

// New allocates a machine for p, which is to be closed. Parameters are zero, to be filled through
// [Machine.Params]. c may be nil if p does not need one.
func New(p *Program, c Comm) (*Machine, error) {
	if p.opts.Borrow {
		return nil, errors.New("exec: the program was compiled to borrow its parameters: use Borrow")
	}
	return newMachine(p, c, nil)
}

// Borrow allocates a machine whose parameters are those of owner, by name: one
// that evaluates or generates while owner trains. p must have been compiled
// with Options.Borrow. It may be used only while owner is open and idle.
func Borrow(p *Program, c Comm, owner *Machine) (*Machine, error) {
	if !p.opts.Borrow {
		return nil, errors.New("exec: the program was not compiled to borrow its parameters: use New, or set Options.Borrow")
	}
	return newMachine(p, c, owner)
}

func newMachine(p *Program, c Comm, owner *Machine) (*Machine, error) {
	if c == nil && p.needsComm() {
		return nil, errors.New("exec: the program exchanges tensors with other ranks: give New a Comm")
	}
	m := &Machine{program: p, comm: c, changes: 1}
	var err error
	if owner != nil {
		if m.weights, err = owner.lend(p); err != nil {
			return nil, err
		}
	}
	m.arena = p.backend.Alloc(p.layout.all)
	m.share()
	if owner != nil {
		m.owner = owner.owner
	} else {
		m.owner = m
		for _, s := range p.shards {
			m.weights = append(m.weights, m.region(regionParams, 0)[s.offset:][:s.size:s.size])
		}
	}
	m.resolve()
	if p.beside {
		m.queue = newQueue(m, p.exchanges+2*len(p.buckets))
	}
	return m, nil
}

// share has gradients and staging memory in what ranks share, if they do. The
// arena's parts of these regions are never touched, and so take no memory.
func (m *Machine) share() {
	s, ok := m.comm.(Sharer)
	if !ok || !m.program.opts.Train {
		return
	}
	for _, r := range []region{regionGrads, regionStaging} {
		if n := m.program.layout.size[r]; n > 0 {
			m.shared[r] = s.Share(n)
		}
	}
}

// Shared is how many elements of the machine's memory it shares with other ranks.
func (m *Machine) Shared() int {
	n := 0
	for _, x := range m.shared {
		n += len(x)
	}
	return n
}

// lend finds p's parameters among the machine's.
func (m *Machine) lend(p *Program) ([][]float32, error) {
	have := map[string][]float32{}
	for i, s := range m.program.shards {
		have[s.Param.Name] = m.weights[i]
	}
	var weights [][]float32
	for _, s := range p.shards {
		w := have[s.Param.Name]
		if len(w) != s.size {
			return nil, fmt.Errorf("exec: cannot borrow %s: it has %d elements here and %d in the machine that lends", s.Param.Name, s.size, len(w))
		}
		weights = append(weights, w)
	}
	return weights, nil
}

// resolve finds the memory of all instructions, inputs and outputs.
func (m *Machine) resolve() {
	p := m.program
	index := map[*buffer]int{}
	for i, s := range p.shards {
		index[s.value.buf] = i
	}
	at := func(b *buffer, slot int) []float32 {
		if b.region == regionParams {
			return m.weights[index[b]]
		}
		return m.region(b.region, slot)[b.offset:][:b.size:b.size]
	}
	m.prologue, m.forward = bindAll(p, p.prologue, at), bindAll(p, p.forward, at)
	m.backward, m.epilogue = bindAll(p, p.backward, at), bindAll(p, p.epilogue, at)
	m.bindPacks(at)
	for slot := range p.opts.Slots {
		inputs := map[string]Tensor{}
		for name, v := range p.inputs {
			inputs[name] = tensorOf(v, at(v.buf, slot))
		}
		m.inputs = append(m.inputs, inputs)
		if p.logits != nil {
			m.logits = append(m.logits, at(p.logits.buf, slot))
		}
		if p.loss != nil {
			m.loss = append(m.loss, at(p.loss.buf, slot))
		}
	}
	for _, b := range p.ones {
		one := at(b, 0)
		for i := range one {
			one[i] = 1
		}
	}
	m.message = m.region(regionStaging, 0)[:messageSize]
}

// region is a region's memory, in regionSlots that of one slot.
func (m *Machine) region(r region, slot int) []float32 {
	if x := m.shared[r]; x != nil {
		return x
	}
	l := &m.program.layout
	from := l.base[r]
	if r == regionSlots {
		from += slot * l.size[r]
	}
	return m.arena[from:][:l.size[r]]
}

// bindAll gives each step its memory.
func bindAll(p *Program, steps []*step, at func(*buffer, int) []float32) []instruction {
	var all []instruction
	for _, s := range steps {
		ins := instruction{step: s, at: landmark{s.tag, p.kinds[s.kind].name, s.exchange != nil}}
		for slot := range p.opts.Slots {
			a := Args{Add: make([]bool, len(s.out)), Ints: make([][]int32, len(s.in)), In: make([][]float32, len(s.in))}
			for i, v := range s.in {
				a.In[i] = at(v.buf, slot)
				a.Ints[i] = tensorOf(v, a.In[i]).Ints
			}
			for _, v := range s.out {
				a.Out = append(a.Out, at(v.buf, slot))
			}
			a.In16, a.Out16 = inBF16(s.in, a.In), inBF16(s.out, a.Out)
			if s.scratch != nil {
				a.Scratch = at(s.scratch, slot)
			}
			if s.packed != nil {
				a.Packed = at(s.packed, slot)
			}
			ins.args = append(ins.args, a)
		}
		all = append(all, ins)
	}
	return all
}

// tensorOf views memory as v. Integers lie in the arena too; their elements
// are as wide.
func tensorOf(v *value, x []float32) Tensor {
	if v.typ.Dtype == tensor.Int32 {
		return Tensor{Type: v.typ, Ints: unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))}
	}
	return Tensor{Type: v.typ, Floats: x}
}

// Program is what the machine runs.
func (m *Machine) Program() *Program { return m.program }

// Input is the memory to fill with an input before a forward pass. It is the
// zero Tensor if the program reads no such input.
func (m *Machine) Input(slot int, name string) Tensor {
	if slot < 0 || slot >= len(m.inputs) {
		return Tensor{}
	}
	return m.inputs[slot][name]
}

// State is the memory of a state that the program reads, nil for others.
func (m *Machine) State(name string) []float32 {
	v := m.program.states[name]
	if v == nil {
		return nil
	}
	return m.region(regionStates, 0)[v.buf.offset:][:v.buf.size]
}

// Logits are those of the last forward pass in the slot, until its backward
// pass; nil where the stage has none.
func (m *Machine) Logits(slot int) []float32 {
	if slot < 0 || slot >= len(m.logits) {
		return nil
	}
	return m.logits[slot]
}

// Loss is this rank's part of the loss of the last forward pass in the slot,
// until its backward pass; 0 where the stage has none.
func (m *Machine) Loss(slot int) float32 {
	if slot < 0 || slot >= len(m.loss) {
		return 0
	}
	return m.loss[slot][0]
}

// Params are the shards, in the order of the stage. Who writes values after a
// forward pass calls [Machine.ParamsChanged].
func (m *Machine) Params() []Param {
	var params []Param
	for i, s := range m.program.shards {
		p := Param{Shard: s.Shard, Value: m.weights[i]}
		if m.program.opts.Train {
			p.Grad = m.part(regionGrads, s)
			p.M, p.V = m.part(regionFirst, s), m.part(regionSecond, s)
		}
		params = append(params, p)
	}
	return params
}

func (m *Machine) part(r region, s *shard) []float32 {
	return m.region(r, 0)[s.offset:][:s.size:s.size]
}

// Close ends what still runs and frees the memory; views of it must not be used
// any more.
func (m *Machine) Close() {
	if m.queue != nil {
		m.queue.close()
		m.queue = nil
	}
	m.program.backend.Free(m.arena)
	m.arena, m.shared = nil, [regions][]float32{}
}
