package parallel

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// walker goes through a model's forward graph in order and builds one rank's
// part. Every rank walks the whole model: where an operation belongs to another
// stage it finds the placements only, so that all ranks agree on them.
type walker struct {
	model   *graph.Model
	part    *Part
	stage   int          // the rank's
	stageOf []int        // by layer
	once    []graph.Once // how often parameters are converted, by layer
	axes    []graph.Axis // all but pp and those of one rank, outermost first
	tables  [][]Table    // by axis and layer

	values    map[*G.Node]*value // of the model's nodes
	fetched   map[place]*value
	converted map[conversionKey]*value
	edges     map[[2]int]int // tensors sent so far from stage to stage
	names     map[string]int // how often a name was given
}

// value is a tensor of the partitioned model.
type value struct {
	name  string     // unique, the same on all ranks
	typ   graph.Type // of the whole tensor
	at    Layout
	used  []Layout // how operations of each layer take a leaf; nil for results
	order []int    // of the axes that split a leaf; nil for results: natural
	// once is how often a parameter is converted for each layer; nil for others.
	once  []graph.Once
	stage int // where it is; leafStage for leaves, which every user holds
	node  *G.Node
	// slicedFrom is the value of integers that this one was sliced from, without
	// communication; nil for others.
	slicedFrom *value
}

const leafStage = -1

// place is a value on a stage. Leaves that are converted anew with every
// micro-batch are so for each layer: what is gathered need not be kept from one
// to the other.
type place struct {
	v     *value
	stage int
	layer int // of such a leaf; -1 for others
	once  graph.Once
}

// conversionKey is a value after conversion on one axis.
type conversionKey struct {
	v    *value
	step step
}

// fail says at which operation the walk ended.
func (w *walker) fail(n *G.Node, err error) error {
	op := graph.OpOf(n)
	return &PartitionError{Layer: w.part.layers[op.Tag.Layer], Op: op.Tag.Name, Kind: op.Spec.Kind(), Err: err}
}

// operation places one operation of the model.
func (w *walker) operation(n *G.Node) error {
	op := graph.OpOf(n)
	var in []*value
	for _, c := range graph.Children(n) {
		if w.values[c] == nil {
			return w.fail(n, fmt.Errorf("its operand %s is neither a parameter nor an input of the model", c.Name()))
		}
		v, err := w.enter(w.values[c], c, op.Tag)
		if err != nil {
			return w.fail(n, err)
		}
		in = append(in, v)
	}
	out, err := w.apply(op.Spec, op.Tag, in)
	if err != nil {
		return w.fail(n, err)
	}
	w.values[n] = out
	return nil
}

// apply adds an operation over values that are on its stage, as the rule of its
// kind says. A bias that would be added once per rank is added apart.
func (w *walker) apply(s graph.Spec, tag graph.Tag, in []*value) (*value, error) {
	if w.splitsBias(s, in) {
		y, err := w.apply(s, tag, in[:2])
		if err != nil {
			return nil, err
		}
		tag.Name += ".bias"
		return w.apply(graph.AddBias{}, tag, []*value{y, in[2]})
	}
	needs, at, local, err := w.place(s, tag, in)
	if err != nil {
		return nil, err
	}
	locals := make([]*value, len(in))
	for i, v := range in {
		if locals[i], err = w.convert(v, needs[i], tag); err != nil {
			return nil, fmt.Errorf("operand %d (%s): %w", i, v.name, err)
		}
	}
	typ, _, err := s.Infer(types(in))
	if err != nil {
		return nil, err
	}
	if locals, err = w.addDenominators(s, tag, locals); err != nil {
		return nil, err
	}
	out, err := w.result(local, tag, typ, at, locals)
	if err != nil {
		return nil, err
	}
	return w.scatterLookup(s, tag, in, out)
}

func types(in []*value) []graph.Type {
	types := make([]graph.Type, len(in))
	for i, v := range in {
		types[i] = v.typ
	}
	return types
}

// onAxis returns the operands' placements on one axis.
func onAxis(in []*value, axis int) []Placement {
	at := make([]Placement, len(in))
	for i, v := range in {
		at[i] = v.at[axis]
	}
	return at
}

func (w *walker) splitsBias(s graph.Spec, in []*value) bool {
	for i := range w.axes {
		if splitsBias(s, types(in), onAxis(in, i)) {
			return true
		}
	}
	return false
}

// place asks the operation's rule, axis by axis, for the layout that each
// operand needs, that of the result, and what runs on the ranks.
func (w *walker) place(s graph.Spec, tag graph.Tag, in []*value) (needs []Layout, out Layout, local graph.Spec, err error) {
	rule, err := ruleOf(s)
	if err != nil {
		return nil, nil, nil, err
	}
	needs = make([]Layout, len(in))
	for i := range needs {
		needs[i] = make(Layout, len(w.axes))
	}
	out = make(Layout, len(w.axes))
	var ring []int
	for a := range w.axes {
		t, ok := w.tables[a][tag.Layer].(RingTable)
		sig := rule(operands{s, types(in), onAxis(in, a), ok && t.RingAttention()})
		if err := sig.check(len(in)); err != nil {
			return nil, nil, nil, fmt.Errorf("the placement rule of %s is wrong on axis %s: %w", s.Kind(), w.axes[a].Name, err)
		}
		if sig.ring {
			ring = append(ring, a)
		}
		for i, p := range sig.in {
			needs[i][a] = p
		}
		out[a] = sig.out
	}
	return needs, out, w.ring(s, ring), nil
}

// result makes the value of an operation, with a node if it is this stage's.
func (w *walker) result(s graph.Spec, tag graph.Tag, typ graph.Type, at Layout, in []*value) (*value, error) {
	local, err := at.local(typ, w.axes)
	if err != nil {
		return nil, err
	}
	v := &value{name: w.unique(tag.Name), typ: typ, at: at, stage: w.stageOf[tag.Layer]}
	if v.stage != w.stage {
		return v, nil
	}
	nodes := make([]*G.Node, len(in))
	for i, x := range in {
		nodes[i] = x.node
	}
	if p, ok := s.(graph.Placed); ok {
		s = p.Place(w.parts(v), w.partsOf(in))
	}
	if ring, ok := s.(graph.RingAttention); ok {
		tag.Name = v.name
		v.node, err = ring.Apply(tag, nodes...)
	} else {
		v.node, err = graph.Apply(s, tag, nodes...)
	}
	if err != nil {
		return nil, err
	}
	if got := graph.TypeOf(v.node); !slices.Equal(got.Shape, local.Shape) {
		return nil, fmt.Errorf("the placement rule of %s is wrong: result %v on a rank, expected %v", s.Kind(), got, local)
	}
	return v, nil
}

// splitOrder is the order of the axes that split v.
func (v *value) splitOrder() []int {
	if v.order == nil {
		return v.at.natural()
	}
	return v.order
}

// parts returns how this rank's part of v is cut out of the whole.
func (w *walker) parts(v *value) []graph.Part {
	return v.at.parts(v.typ.Dims(), w.axes, v.splitOrder())
}

func (w *walker) partsOf(in []*value) [][]graph.Part {
	parts := make([][]graph.Part, len(in))
	for i, v := range in {
		parts[i] = w.parts(v)
	}
	return parts
}

// unique returns name, numbered if it was given before.
func (w *walker) unique(name string) string {
	w.names[name]++
	if n := w.names[name]; n > 1 {
		return fmt.Sprintf("%s#%d", name, n)
	}
	return name
}

// convert brings a value into another layout on its stage. Operations that need
// the same share one conversion, so its gradient is communicated once.
func (w *walker) convert(v *value, want Layout, tag graph.Tag) (*value, error) {
	if !v.typ.IsFloat() {
		want = slices.Clone(want) // no gradient: a copy is as good as the value
		for i, p := range want {
			if p == Copied {
				want[i] = Replicate
			}
		}
	}
	for u := v.slicedFrom; u != nil; u = u.slicedFrom {
		if slices.Equal(u.at, want) {
			return u, nil // rather than join what it was cut into
		}
	}
	for _, s := range route(v.at, want, v.splitOrder()) {
		var err error
		if v, err = w.convertStep(v, s, tag); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (w *walker) convertStep(v *value, s step, tag graph.Tag) (*value, error) {
	key := conversionKey{v, s}
	if c := w.converted[key]; c != nil {
		return c, nil
	}
	axis := w.axes[s.axis]
	specs, err := conversion(v.at[s.axis], s.to, axis)
	if err != nil {
		return nil, err
	}
	c := &value{name: w.unique(fmt.Sprintf("%s@%s:%v", v.name, axis.Name, s.to)), typ: v.typ, at: slices.Clone(v.at), stage: v.stage, node: v.node}
	c.at[s.axis] = s.to
	if _, err := c.at.local(c.typ, w.axes); err != nil {
		return nil, err
	}
	if v.at[s.axis] == Replicate && !v.typ.IsFloat() {
		c.slicedFrom = v
	}
	tag.Name = c.name
	for _, spec := range specs {
		if c.node == nil {
			break
		}
		if c.node, err = graph.Apply(spec, tag, c.node); err != nil {
			return nil, err
		}
	}
	w.converted[key] = c
	return c, nil
}
