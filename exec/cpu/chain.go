package cpu

import (
	"slices"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// member is an operation of a chain of elementwise operations.
type member struct {
	spec     graph.Spec
	through  int   // the operand that is the chain's value so far
	operands []int // where the others are among the chain's operands, in their order
}

// members lists a chain in the order of its operations, given the number of its
// operands.
func members(spec graph.Spec, operands int) []member {
	var from int
	m, before := member{spec: spec}, []member(nil)
	if f, ok := spec.(exec.Fused); ok {
		before, from = members(f.First, f.Operands), f.Operands
		m.spec, m.through = f.Then, f.Operand
	} else if _, ok := spec.(graph.ActivationGrad); ok {
		m.through = 1
	}
	for i := from; i < operands; i++ {
		if from > 0 || i != m.through {
			m.operands = append(m.operands, i)
		}
	}
	return append(before, m)
}

// link is how a member is run: a kernel's link, and where it finds its memory.
type link struct {
	kernel.Link
	other int                                    // operand, noOperand if there is none
	state int                                    // operand that dropout draws from
	draw  func(state []int32) kernel.DropoutArgs // nil but for dropout
}

// linkOf is false where the kernel has no link for m.
func linkOf(m member, c exec.Call) (l link, ok bool) {
	l.other = noOperand
	switch s := m.spec.(type) {
	case graph.Add:
		l.Op, l.other = kernel.LinkAdd, m.operands[0]
		return l, true
	case graph.Activation:
		l.Op, l.Function = kernel.LinkValue, functions[s.F].fused
		return l, l.Function != kernel.Identity
	case graph.ActivationGrad:
		l.Op, l.Function, l.other = kernel.LinkSlope, functions[s.F].fused, m.operands[0]
		return l, l.Function != kernel.Identity && m.through == 1
	case graph.Dropout:
		l.Op, l.state, l.draw = kernel.LinkDropout, m.operands[0], draw(s, c.Out[0])
		return l, m.through == 0
	}
	return link{}, false
}

// bind gives l its memory.
func (l *link) bind(a *exec.Args) kernel.Link {
	k := l.Link
	if l.other != noOperand {
		k.Other = a.In[l.other]
	}
	if l.draw != nil {
		k.Dropout = l.draw(a.Ints[l.state])
	}
	return k
}

// chain makes one kernel of elementwise operations, each of which reads the
// result of the one before. Its result may overwrite what the first one reads.
func (b *Backend) chain(f exec.Fused, c exec.Call) (*exec.Kernel, error) {
	ms := members(f, len(c.In))
	if len(ms) > kernel.MaxLinks || slices.ContainsFunc(ms, func(m member) bool { return b.unchained[m.spec.Kind()] }) {
		return nil, exec.ErrNotFused
	}
	links := make([]link, len(ms))
	for i, m := range ms {
		var ok bool
		if links[i], ok = linkOf(m, c); !ok {
			return nil, exec.ErrNotFused
		}
	}
	through, inPlace := ms[0].through, []int{ms[0].through}
	if links[0].other != noOperand {
		inPlace = append(inPlace, links[0].other)
	}
	return &exec.Kernel{InPlace: inPlace, Run: func(a *exec.Args) error {
		var bound [kernel.MaxLinks]kernel.Link
		for i := range links {
			bound[i] = links[i].bind(a)
		}
		if len(a.Out) > 1 {
			bound[len(links)-2].Keep = a.Out[1]
		}
		kernel.Chain(b.pool, a.Out[0], a.In[through], bound[:len(links)])
		return nil
	}}, nil
}
