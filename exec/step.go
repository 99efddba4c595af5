package exec

import (
	"errors"
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// value is a leaf or one result of an instruction.
type value struct {
	typ  graph.Type
	tag  graph.Tag // of the operation; of a leaf, its name and layer
	buf  *buffer   // nil until it is placed
	made int       // first position that writes it
	last int       // last position that reads it
	bf16 bool      // stored so
}

// size is how many elements of the arena v takes.
func (v *value) size() int {
	if v.bf16 {
		return (v.typ.Size() + 1) / 2
	}
	return v.typ.Size()
}

// writeMode says how an instruction writes a result.
type writeMode uint8

const (
	write      writeMode = iota
	writeFirst           // overwrite in a step's first micro-batch, add in all others
	writeAdd             // add
)

// step is an instruction.
type step struct {
	pos     int
	kind    int // index into Program.kinds
	timed   int // index into Program.layerTimes
	name    string
	tag     graph.Tag
	in, out []*value
	modes   []writeMode // of each out
	scratch *buffer
	packed  *buffer // an operand in the layout that the kernel asks for, nil without
	kernel  *Kernel // without Run where exchange is set
	// lookUp and addRows say that it takes rows of a table, or adds to them.
	lookUp, addRows bool
	// exchange is a collective, a send or a receive.
	exchange exchange
	traffic  Traffic // of an exchange; pass and how often are the program's to say
	async
}

// kind is what profiles and listings tell instructions apart by.
type kind struct {
	name string
	pass graph.Pass
}

// pinned makes a value whose memory is its own for the whole run.
func (c *compiler) pinned(r region, t graph.Type, name string, layer int) *value {
	v := &value{typ: t, tag: graph.Tag{Name: name, Layer: layer}, made: -1}
	v.buf = c.buffer(v.tag, t.Size())
	v.buf.region, v.buf.pinned = r, true
	return v
}

func (c *compiler) buffer(tag graph.Tag, size int) *buffer {
	b := &buffer{name: tag.Name, layer: tag.Layer, size: size}
	c.buffers = append(c.buffers, b)
	return b
}

// value returns the value of n, which must have been lowered or be a leaf.
func (c *compiler) value(n *G.Node) (*value, error) {
	r := refOf(n)
	if g := c.summed[r]; g != nil && c.pass == &c.epilogue {
		return g.value, nil
	}
	if graph.IsLeaf(r.node) {
		return c.leaf(r.node)
	}
	results := c.results[r.node]
	if results == nil || results[r.k] == nil {
		return nil, &CompileError{Name: fmt.Sprint(r.node.Op()), Err: errors.New("its result carries no data")}
	}
	return results[r.k], nil
}

// leaf places a leaf when something first reads it.
func (c *compiler) leaf(n *G.Node) (*value, error) {
	if v, ok := c.leaves[n]; ok {
		return v, nil
	}
	t, s := graph.TypeOf(n), c.stage
	var v *value
	if i := slices.IndexFunc(s.Inputs, func(in *graph.Input) bool { return in.Node == n }); i >= 0 {
		v = c.pinned(regionSlots, t, n.Name(), c.layer)
		c.inputs[s.Inputs[i].Name] = v
	} else if i := slices.IndexFunc(s.States, func(st *graph.State) bool { return st.Node == n }); i >= 0 {
		v = c.pinned(regionStates, t, n.Name(), c.layer)
		c.states[s.States[i].Name] = v
	} else if slices.Contains(s.Seeds, n) {
		v = c.pinned(regionStates, t, n.Name(), c.layer)
		c.ones = append(c.ones, v.buf)
	} else {
		return nil, &CompileError{Name: n.Name(), Err: errors.New("the leaf is no parameter, input, state or seed of the stage")}
	}
	c.leaves[n] = v
	return v, nil
}

func (c *compiler) lowerAll(nodes []*G.Node) error {
	c.pending = map[*G.Node]bool{}
	for _, n := range nodes {
		c.pending[n] = true
	}
	for _, r := range c.schedule(nodes) {
		if r.settle {
			c.settled = append(c.settled, c.pos)
		}
		if r.depth != nil {
			if err := c.lowerJoined(r); err != nil {
				return err
			}
			continue
		}
		for _, n := range r.nodes {
			if c.results[n] != nil {
				continue // fused with an operation before it
			}
			if err := c.lower(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// lower adds the instruction of n, and those that move its results to the
// gradients they are terms of.
func (c *compiler) lower(n *G.Node) error {
	call, err := c.call(n)
	if err != nil {
		return err
	}
	if done, err := c.fuse(n, call); done || err != nil {
		return err
	}
	c.layer = call.Tag.Layer
	s := &step{tag: call.Tag}
	_, s.lookUp = call.Spec.(graph.Embedding)
	_, s.addRows = call.Spec.(graph.EmbeddingGrad)
	if err := c.bind(s, call); err != nil {
		return &CompileError{Tag: call.Tag, Name: call.Spec.Kind(), Err: err}
	}
	if s.in, err = c.operands(n, call); err != nil {
		return err
	}
	if s.out, err = c.addResults(n, call, s); err != nil {
		return &CompileError{Tag: call.Tag, Name: call.Spec.Kind(), Err: err}
	}
	c.add(s, call.Spec.Kind())
	return c.addSums(n, call.Tag)
}

// addSums adds the results of n to the gradients that they are terms of and
// were not written to.
func (c *compiler) addSums(n *G.Node, tag graph.Tag) error {
	for k, v := range c.results[n] {
		sums := c.sums[ref{n, k}]
		if v == nil || len(sums) == 1 && sums[0].value == v {
			continue
		}
		if err := c.addTo(sums, tag, v); err != nil {
			return err
		}
	}
	return nil
}

// call describes n's operation. Gorgonia's sum is an Add, and belongs where
// the later of its operands does.
func (c *compiler) call(n *G.Node) (Call, error) {
	if graph.IsSum(n) {
		t := graph.TypeOf(n)
		call := Call{Spec: graph.Add{}, In: []graph.Type{t, t}, Out: []graph.Type{t}}
		latest := -1
		for _, child := range graph.Children(n) {
			if v, err := c.value(child); err == nil && v.made > latest {
				latest, call.Tag = v.made, v.tag
			}
		}
		return call, nil
	}
	op := graph.OpOf(n)
	if op == nil {
		return Call{}, &CompileError{Name: fmt.Sprint(n.Op()), Err: errors.New("not an operation of package graph")}
	}
	out := append([]graph.Type{op.Out()}, op.SideTypes()...)
	return Call{Spec: op.Spec, Tag: op.Tag, In: op.In(), Out: out, Precision: c.opts.Precision}, nil
}

// bind gives s what it runs.
func (c *compiler) bind(s *step, call Call) (err error) {
	for _, t := range slices.Concat(call.In, call.Out) {
		if t.Dtype != tensor.Float32 && t.Dtype != tensor.Int32 {
			return fmt.Errorf("a tensor of type %v: programs compute in float32", t)
		}
	}
	var staging int
	if s.exchange, s.kernel, staging = exchangeOf(call); s.exchange == nil {
		if s.kernel, err = c.backend.Lower(call); err != nil {
			return err
		}
	} else {
		s.traffic = trafficOf(call)
	}
	if n := max(staging, s.kernel.Scratch); n > 0 {
		s.scratch = c.buffer(call.Tag, n)
		if staging > 0 {
			s.scratch.region, s.scratch.pinned = regionStaging, true
		}
	}
	return nil
}

// operands returns the values that n's instruction reads. The token of a
// receive is none.
func (c *compiler) operands(n *G.Node, call Call) ([]*value, error) {
	if _, ok := call.Spec.(graph.Recv); ok {
		return nil, nil
	}
	var in []*value
	for _, child := range graph.Children(n) {
		v, err := c.value(child)
		if err != nil {
			return nil, err
		}
		v.last = max(v.last, c.pos)
		in = append(in, v)
	}
	return in, nil
}

// addResults makes the values of n's results. The token of a send is none.
func (c *compiler) addResults(n *G.Node, call Call, s *step) ([]*value, error) {
	if _, ok := call.Spec.(graph.Send); ok {
		c.results[n] = []*value{nil}
		return nil, nil
	}
	out := make([]*value, len(call.Out))
	s.modes = make([]writeMode, len(out))
	for k, t := range call.Out {
		if r := (ref{n, k}); c.direct(s.kernel, r) {
			sh := c.sums[r][0]
			out[k], s.modes[k] = sh.value, sh.mode()
			continue
		}
		out[k] = &value{typ: t, tag: call.Tag, made: c.pos, last: c.pos}
	}
	if u, ok := call.Spec.(graph.Updater); ok {
		for k, operand := range u.Updates() {
			if s.in[operand].buf == nil || s.in[operand].buf.region != regionStates || c.uses[refOf(graph.Children(n)[operand])] != 1 {
				return nil, fmt.Errorf("operand %d is overwritten, so it must be a state that nothing else reads", operand)
			}
			out[1+k] = s.in[operand]
		}
	}
	c.results[n] = out
	return out, nil
}

// direct reports whether the kernel can write a result straight to the one
// gradient that it is for. The epilogue runs once a step, so what writes first
// there need not add.
func (c *compiler) direct(k *Kernel, r ref) bool {
	if len(c.sums[r]) != 1 || c.uses[r] != 1 {
		return false
	}
	return slices.Contains(k.Adds, r.k) || c.pass == &c.epilogue && !c.sums[r][0].written
}

// mode is how the next instruction writes the gradient.
func (g *gradient) mode() writeMode {
	if g.written {
		return writeAdd
	}
	g.written = true
	return writeFirst
}

// add appends s to the pass.
func (c *compiler) add(s *step, name string) {
	k := kind{name, graph.Forward}
	if c.pass == &c.backward || c.pass == &c.epilogue {
		k.pass = graph.Backward
	}
	if s.kind = slices.Index(c.kinds, k); s.kind < 0 {
		s.kind = len(c.kinds)
		c.kinds = append(c.kinds, k)
	}
	s.timed = c.layerTime(s)
	s.name = fmt.Sprintf("%v %s", s.tag, name)
	c.pack(s)
	s.pos = c.pos
	c.pos++
	*c.pass = append(*c.pass, s)
}

// addTo adds v to gradients that its own instruction cannot write.
func (c *compiler) addTo(sums []*gradient, tag graph.Tag, v *value) error {
	for _, g := range sums {
		if err := c.assign(tag, g.value, v, g.mode()); err != nil {
			return err
		}
	}
	return nil
}

// assign moves src to dst.
func (c *compiler) assign(tag graph.Tag, dst, src *value, mode writeMode) error {
	call := Call{Spec: Assign{}, Tag: tag, In: []graph.Type{src.typ}, Out: []graph.Type{dst.typ}}
	k, err := c.backend.Lower(call)
	if err != nil {
		return &CompileError{Tag: tag, Name: call.Spec.Kind(), Err: err}
	}
	src.last = max(src.last, c.pos)
	c.add(&step{tag: tag, in: []*value{src}, out: []*value{dst}, modes: []writeMode{mode}, kernel: k}, call.Spec.Kind())
	return nil
}
