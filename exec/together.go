package exec

import (
	"context"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// together names what n's collective can run together with, empty if it is none
// that can.
func together(n *G.Node) string {
	op := graph.OpOf(n)
	if op == nil {
		return ""
	}
	switch s := op.Spec.(type) {
	case graph.AllReduce:
		return s.Kind() + " " + s.Axis.Name
	case graph.AllGather:
		return s.Kind() + " " + s.Axis.Name
	case graph.ReduceScatter:
		return s.Kind() + " " + s.Axis.Name
	}
	return ""
}

// lowerJoined lowers operations in their order. Neighbours of equal depth, which
// do not need each other, run as one collective where they can: up to a bucket.
// One as large runs alone, which takes no copy.
func (c *compiler) lowerJoined(r run) error {
	nodes, depth := r.nodes, r.depth
	for len(nodes) > 0 {
		n, size, key := 0, 0, together(nodes[0])
		for n < len(nodes) && size < bucketSize && together(nodes[n]) == key && depth[nodes[n]] == depth[nodes[0]] {
			more := 0
			if key != "" {
				op := graph.OpOf(nodes[n])
				more = max(op.In()[0].Size(), op.Out().Size())
			}
			if n > 0 && (key == "" || more >= bucketSize) {
				break
			}
			n, size = n+1, size+more
		}
		var err error
		if n == 1 && !c.accumulates(nodes[0]) {
			err = c.lower(nodes[0])
		} else {
			err = c.lowerBucket(nodes[:n])
		}
		if err != nil {
			return err
		}
		nodes = nodes[n:]
	}
	return nil
}

// accumulates reports whether n's collective adds to a gradient with every
// micro-batch, as that of ZeRO-3 does.
func (c *compiler) accumulates(n *G.Node) bool {
	op := graph.OpOf(n)
	if op == nil || c.pass != &c.backward {
		return false
	}
	_, ok := op.Spec.(graph.ReduceScatter)
	return ok && c.sums[ref{n, 0}] != nil
}

// lowerBucket lowers collectives of one kind and group as one instruction.
func (c *compiler) lowerBucket(nodes []*G.Node) error {
	all := &step{kernel: &Kernel{}}
	if _, ok := graph.OpOf(nodes[0]).Spec.(graph.AllGather); !ok {
		all.kernel.Adds = []int{0}
	}
	var calls []Call
	for _, n := range nodes {
		call, err := c.call(n)
		if err != nil {
			return err
		}
		c.layer = call.Tag.Layer
		s := &step{tag: call.Tag, kernel: all.kernel}
		if s.in, err = c.operands(n, call); err == nil {
			s.out, err = c.addResults(n, call, s)
		}
		if err != nil {
			return &CompileError{Tag: call.Tag, Name: call.Spec.Kind(), Err: err}
		}
		all.in, all.out = append(all.in, s.in...), append(all.out, s.out...)
		all.modes = append(all.modes, s.modes...)
		calls = append(calls, call)
	}
	all.tag = calls[0].Tag
	var staging int
	all.exchange, staging = exchangeTogether(calls)
	all.traffic = joinedTraffic(calls)
	all.scratch = c.buffer(all.tag, staging)
	all.scratch.region, all.scratch.pinned = regionStaging, true
	c.add(all, calls[0].Spec.Kind())
	for i, n := range nodes {
		if err := c.addSums(n, calls[i].Tag); err != nil {
			return err
		}
	}
	return nil
}

// strided is how a part of a tensor lies in the whole [outer, parts, inner].
type strided struct{ outer, inner int }

func (s strided) size() int { return s.outer * s.inner }

// spread copies part index of parts to the whole, collect from it.
func (s strided) spread(whole, part []float32, index, parts int) {
	for o := range s.outer {
		copy(whole[(o*parts+index)*s.inner:][:s.inner], part[o*s.inner:])
	}
}

func (s strided) collect(part, whole []float32, index, parts int) {
	for o := range s.outer {
		copy(part[o*s.inner:][:s.inner], whole[(o*parts+index)*s.inner:])
	}
}

// exchangeTogether runs collectives of one kind over one group as one, in
// staging memory of the size that it returns.
func exchangeTogether(calls []Call) (exchange, int) {
	var parts []strided
	total := 0
	for _, call := range calls {
		p := strided{1, call.In[0].Size()}
		switch s := call.Spec.(type) {
		case graph.AllGather:
			p = strided{outerOf(call.In[0], s.Dim), innerOf(call.In[0], s.Dim)}
		case graph.ReduceScatter:
			p = strided{outerOf(call.Out[0], s.Dim), innerOf(call.Out[0], s.Dim)}
		}
		parts = append(parts, p)
		total += p.size()
	}
	switch s := calls[0].Spec.(type) {
	case graph.AllGather:
		return gatherTogether(s.Axis, parts, total), total * s.Axis.Size
	case graph.ReduceScatter:
		return scatterTogether(s.Axis, parts, total), total * s.Axis.Size
	default:
		return reduceTogether(s.(graph.AllReduce).Axis.Name, parts), total
	}
}

func reduceTogether(group string, parts []strided) exchange {
	return func(ctx context.Context, c Comm, _ MicroBatch, name string, a *Args) error {
		rest := a.Scratch
		for i, p := range parts {
			copy(rest, a.In[i])
			rest = rest[p.size():]
		}
		if err := c.AllReduce(ctx, group, name, a.Scratch); err != nil {
			return err
		}
		rest = a.Scratch
		for i, p := range parts {
			put(a.Out[i], rest, a.Add[i])
			rest = rest[p.size():]
		}
		return nil
	}
}

// put copies or adds the beginning of src to dst.
func put(dst, src []float32, add bool) {
	if !add {
		copy(dst, src)
		return
	}
	for i, v := range src[:len(dst)] {
		dst[i] += v
	}
}

// gatherTogether gathers the shards of all operands of a rank as one.
func gatherTogether(axis graph.Axis, parts []strided, total int) exchange {
	return func(ctx context.Context, c Comm, _ MicroBatch, name string, a *Args) error {
		own := a.Scratch[axis.Rank*total:][:total]
		rest := own
		for i, p := range parts {
			copy(rest, a.In[i])
			rest = rest[p.size():]
		}
		if err := c.AllGather(ctx, axis.Name, name, a.Scratch, own); err != nil {
			return err
		}
		rest = a.Scratch
		for rank := range axis.Size {
			for i, p := range parts {
				p.spread(a.Out[i], rest, rank, axis.Size)
				rest = rest[p.size():]
			}
		}
		return nil
	}
}

// scatterTogether is its mirror.
func scatterTogether(axis graph.Axis, parts []strided, total int) exchange {
	return func(ctx context.Context, c Comm, _ MicroBatch, name string, a *Args) error {
		rest := a.Scratch
		for rank := range axis.Size {
			for i, p := range parts {
				p.collect(rest, a.In[i], rank, axis.Size)
				rest = rest[p.size():]
			}
		}
		own := a.Scratch[axis.Rank*total:][:total]
		if err := c.ReduceScatter(ctx, axis.Name, name, own, a.Scratch); err != nil {
			return err
		}
		for i, p := range parts {
			put(a.Out[i], own, a.Add[i])
			own = own[p.size():]
		}
		return nil
	}
}
