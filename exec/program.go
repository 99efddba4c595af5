package exec

import (
	"errors"
	"slices"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// Options say what a stage is compiled for.
type Options struct {
	// Slots is how many micro-batches may be in flight: forward done, backward
	// not. 0 means 1.
	Slots int
	// Train adds the backward pass, gradients and the optimizer's state.
	Train bool
	// Precision is that of products by parameters, and of what only they read.
	Precision Precision
	// Borrow leaves the parameters out of the arena: [Borrow] takes those of
	// another machine.
	Borrow bool
	// Counted says whether this rank counts a shard in the gradient's norm.
	// Of the ranks that hold the same shard one must. Nil counts all.
	Counted func(*graph.Shard) bool
	// LossReplica says that another rank reports the same loss, so that this
	// one must not.
	LossReplica bool
	// Disable turns passes off, Enable on, where they are not on anyway.
	Disable, Enable []Pass
}

// Program is a compiled stage. It is not changed by running, so several
// machines may share it.
type Program struct {
	stage   *graph.Stage
	backend Backend
	opts    Options

	// prologue runs before the first micro-batch of a step, epilogue after the
	// last: what is tagged to run once.
	prologue, forward, backward, epilogue []*step

	kinds        []kind
	layerTimes   []LayerTime // that a profile has, all zero
	shards       []*shard    // as in the stage
	buckets      []*bucket
	inputs       map[string]*value
	states       map[string]*value
	ones         []*buffer // constants: gradients that the backward pass starts from
	logits, loss *value
	buffers      []*buffer
	layout       layout
	border       int // position between the passes
	packs        []*packed
	exchanges    int  // instructions that may run beside the computation
	beside       bool // the program is to do so
}

// shard is where a parameter's shard and what belongs to it lie.
type shard struct {
	*graph.Shard
	value  *value
	grad   *gradient // nil unless the program trains
	offset int       // in the parameters, the gradients and both moments
	size   int
}

// gradient is a value that sums over the micro-batches of a step: that of a
// parameter, or what an operation of the epilogue reads.
type gradient struct {
	*value
	written bool // some instruction already writes it
}

// Compile makes a program of stage for a back end. With o.Train the stage must
// have been differentiated. Errors are of type [*CompileError] where they
// belong to one operation or parameter.
func Compile(stage *graph.Stage, b Backend, o Options) (*Program, error) {
	o.Slots = max(1, o.Slots)
	if o.Train && o.Borrow {
		return nil, errors.New("exec: a program that trains needs parameters of its own: Train and Borrow exclude each other")
	}
	if err := CheckPasses(slices.Concat(o.Disable, o.Enable)...); err != nil {
		return nil, err
	}
	if err := o.Precision.check(); err != nil {
		return nil, err
	}
	c := &compiler{
		rewritten: stage,
		Program: &Program{
			stage: stage, backend: b, opts: o,
			inputs: map[string]*value{}, states: map[string]*value{},
		},
		leaves:  map[*G.Node]*value{},
		results: map[*G.Node][]*value{},
		sums:    map[ref][]*gradient{},
		late:    map[*G.Node]bool{},
		summed:  map[ref]*gradient{},
	}
	if err := c.addShards(); err != nil {
		return nil, err
	}
	if o.Train && o.does(Recompute) {
		var err error
		if c.rewritten, err = recompute(stage); err != nil {
			return nil, err
		}
	}
	if err := c.addPasses(); err != nil {
		return nil, err
	}
	if o.Train {
		c.buckets = makeBuckets(c.shards)
	}
	c.overlap()
	c.narrow()
	c.place()
	c.layout = arrange(c.Program)
	return c.Program, nil
}

// compiler is a Program in the making.
type compiler struct {
	*Program
	rewritten *graph.Stage // what is compiled: the stage, as passes over its graph left it
	uses      map[ref]int
	users     map[ref][]*G.Node
	pending   map[*G.Node]bool // the operations of the pass that is being filled
	leaves    map[*G.Node]*value
	results   map[*G.Node][]*value
	sums      map[ref][]*gradient // the gradients that a value is a term of
	late      map[*G.Node]bool    // the operations of the epilogue
	summed    map[ref]*gradient   // sums over micro-batches that the epilogue reads in place of a value
	pos       int                 // of the next instruction
	layer     int                 // of the operation that is being lowered
	settled   []int               // positions at which exchanges that nothing reads have ended
	pass      *[]*step            // the pass that is being filled
}

// addShards gives each parameter a place. Shards whose gradients are summed
// over the same groups lie together, so that one collective sums many.
func (c *compiler) addShards() error {
	for _, s := range c.stage.Params {
		if c.opts.Train && s.Grad == nil {
			return &CompileError{Name: s.Param.Name, Err: errors.New("the parameter has no gradient: nothing in the stage uses it, or the stage was not differentiated")}
		}
		t := graph.TypeOf(s.Node)
		sh := &shard{Shard: s, size: t.Size()}
		sh.value = c.pinned(regionParams, t, s.Param.Name, s.Param.Layer)
		c.leaves[s.Node] = sh.value
		if c.opts.Train {
			sh.grad = &gradient{value: c.pinned(regionGrads, t, s.Param.Name, s.Param.Layer)}
		}
		c.shards = append(c.shards, sh)
	}
	offset := 0
	for _, s := range bySum(c.shards) {
		s.offset = offset
		s.value.buf.offset = offset
		if s.grad != nil {
			s.grad.buf.offset = offset
		}
		offset += aligned(s.size)
	}
	return nil
}

// addPasses lowers the stage.
func (c *compiler) addPasses() error {
	roots, backward := c.rewritten.Roots()
	if !c.opts.Train {
		backward = nil
	}
	c.uses, c.users = countUses(slices.Concat(roots, backward))
	order := newOrderer()
	if err := c.addPrologue(order, slices.Concat(roots, backward)); err != nil {
		return err
	}
	for _, r := range roots {
		order.visit(r)
	}
	c.pass = &c.Program.forward
	if err := c.lowerAll(order.take()); err != nil {
		return err
	}
	if err := c.finishForward(); err != nil {
		return err
	}
	c.border = c.pos
	c.pos++
	c.pass = &c.Program.backward
	if !c.opts.Train {
		return nil
	}
	if err := c.findLate(backward); err != nil {
		return err
	}
	terms, late := c.addTerms()
	if err := c.earlyTerms(terms); err != nil {
		return err
	}
	order.backward(slices.Concat(terms, c.rewritten.SentGrads))
	if err := c.lowerAll(order.take()); err != nil {
		return err
	}
	return c.addEpilogue(late)
}

// finishForward moves new states to their place, and keeps what a caller reads
// after the forward pass.
func (c *compiler) finishForward() error {
	for _, s := range c.stage.States {
		if s.Next == nil {
			continue
		}
		next, err := c.value(s.Next)
		if err != nil {
			return err
		}
		state, err := c.value(s.Node)
		if err != nil {
			return err
		}
		if next == state {
			continue
		}
		if err := c.assign(next.tag, state, next, write); err != nil {
			return err
		}
	}
	for _, out := range []struct {
		node *G.Node
		to   **value
	}{{c.stage.Logits, &c.logits}, {c.stage.Loss, &c.loss}} {
		if out.node == nil {
			continue
		}
		v, err := c.value(out.node)
		if err != nil {
			return err
		}
		v.last = max(v.last, c.pos)
		*out.to = v
	}
	return nil
}

// addTerms notes which values are terms of which gradients and returns their
// nodes, and apart those of the epilogue. Gorgonia's sums that only join terms
// of one gradient vanish: each term is added to the gradient where it is
// computed.
func (c *compiler) addTerms() (terms, late []*G.Node) {
	t := termFinder{c: c, seen: map[*G.Node]bool{}}
	for i, s := range c.shards {
		t.add(s.grad, c.rewritten.Params[i].Grad)
	}
	return t.terms, t.late
}

// earlyTerms adds those terms that exist before the backward pass starts.
func (c *compiler) earlyTerms(terms []*G.Node) error {
	done := map[ref]bool{}
	for _, n := range terms {
		r := refOf(n)
		if done[r] || !graph.IsLeaf(r.node) && c.results[r.node] == nil {
			continue
		}
		done[r] = true
		v, err := c.value(n)
		if err != nil {
			return err
		}
		if err := c.addTo(c.sums[r], v.tag, v); err != nil {
			return err
		}
	}
	return nil
}

// needsComm reports whether the program exchanges anything with other ranks.
func (p *Program) needsComm() bool {
	for _, s := range p.steps() {
		if s.exchange != nil {
			return true
		}
	}
	return slices.ContainsFunc(p.buckets, func(b *bucket) bool { return len(b.groups) > 0 })
}

// Stage is the stage that was compiled.
func (p *Program) Stage() *graph.Stage { return p.stage }
