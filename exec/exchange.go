package exec

import (
	"context"

	"github.com/galvani-ml/galvani/graph"
)

// exchange is an instruction that needs other ranks. name is for errors.
type exchange func(ctx context.Context, c Comm, mb MicroBatch, name string, a *Args) error

// exchangeOf returns the exchange that call is, nil if it is arithmetic, and
// the elements of staging memory it needs.
func exchangeOf(call Call) (exchange, *Kernel, int) {
	switch s := call.Spec.(type) {
	case graph.AllReduce:
		return allReduce(s.Axis.Name), &Kernel{InPlace: []int{0}}, 0
	case graph.AllGather:
		return allGather(s, call.In[0], call.Out[0])
	case graph.ReduceScatter:
		return reduceScatter(s, call.In[0], call.Out[0])
	case graph.AllToAll:
		return allToAll(s, call.In[0], call.Out[0])
	case graph.Rotate:
		return func(ctx context.Context, c Comm, _ MicroBatch, name string, a *Args) error {
			return c.Rotate(ctx, s.Axis.Name, name, a.Out[0], a.In[0], s.Shift)
		}, &Kernel{InPlace: []int{0}}, 0
	case graph.Send:
		return func(ctx context.Context, c Comm, mb MicroBatch, name string, a *Args) error {
			return c.Send(ctx, s.Peer, s.Edge, mb, name, a.In[0])
		}, &Kernel{}, 0
	case graph.Recv:
		return func(ctx context.Context, c Comm, mb MicroBatch, name string, a *Args) error {
			return c.Recv(ctx, s.Peer, s.Edge, mb, name, a.Out[0])
		}, &Kernel{}, 0
	}
	return nil, nil, 0
}

func allReduce(group string) exchange {
	return func(ctx context.Context, c Comm, _ MicroBatch, name string, a *Args) error {
		copy(a.Out[0], a.In[0]) // costs nothing where they are the same memory
		return c.AllReduce(ctx, group, name, a.Out[0])
	}
}

// allGather joins shards. Along an inner dimension the shards arrive one after
// the other in staging memory, and are interleaved from there.
func allGather(s graph.AllGather, in, out graph.Type) (exchange, *Kernel, int) {
	group, outer, inner := s.Axis.Name, outerOf(in, s.Dim), innerOf(in, s.Dim)
	if outer == 1 {
		return func(ctx context.Context, c Comm, _ MicroBatch, name string, a *Args) error {
			return c.AllGather(ctx, group, name, a.Out[0], a.In[0])
		}, &Kernel{}, 0
	}
	return func(ctx context.Context, c Comm, _ MicroBatch, name string, a *Args) error {
		if err := c.AllGather(ctx, group, name, a.Scratch, a.In[0]); err != nil {
			return err
		}
		interleave(a.Out[0], a.Scratch, outer, inner)
		return nil
	}, &Kernel{}, out.Size()
}

func reduceScatter(s graph.ReduceScatter, in, out graph.Type) (exchange, *Kernel, int) {
	group, outer, inner := s.Axis.Name, outerOf(out, s.Dim), innerOf(out, s.Dim)
	if outer == 1 {
		return func(ctx context.Context, c Comm, _ MicroBatch, name string, a *Args) error {
			return c.ReduceScatter(ctx, group, name, a.Out[0], a.In[0])
		}, &Kernel{}, 0
	}
	return func(ctx context.Context, c Comm, _ MicroBatch, name string, a *Args) error {
		separate(a.Scratch, a.In[0], outer, inner)
		return c.ReduceScatter(ctx, group, name, a.Out[0], a.Scratch)
	}, &Kernel{}, in.Size()
}

// allToAll separates the parts along To, exchanges them, and interleaves those
// received along From.
func allToAll(s graph.AllToAll, in, out graph.Type) (exchange, *Kernel, int) {
	group, size := s.Axis.Name, in.Size()
	toOuter, toInner := outerOf(in, s.To), innerOf(in, s.To)/s.Axis.Size
	fromOuter, fromInner := outerOf(out, s.From), innerOf(out, s.From)/s.Axis.Size
	staging := 0
	if toOuter > 1 {
		staging += size
	}
	if fromOuter > 1 {
		staging += size
	}
	return func(ctx context.Context, c Comm, _ MicroBatch, name string, a *Args) error {
		src, dst, rest := a.In[0], a.Out[0], a.Scratch
		if toOuter > 1 {
			src, rest = rest[:size], rest[size:]
			separate(src, a.In[0], toOuter, toInner)
		}
		if fromOuter > 1 {
			dst = rest
		}
		if err := c.AllToAll(ctx, group, name, dst, src); err != nil {
			return err
		}
		if fromOuter > 1 {
			interleave(a.Out[0], dst, fromOuter, fromInner)
		}
		return nil
	}, &Kernel{}, staging
}

// outerOf is the number of elements before dimension dim, innerOf of it and
// those after.
func outerOf(t graph.Type, dim int) int { return t.Rows(t.Dims() - dim) }
func innerOf(t graph.Type, dim int) int { return t.Cols(t.Dims() - dim) }

// interleave copies src [parts, outer, inner] to dst [outer, parts, inner].
func interleave(dst, src []float32, outer, inner int) {
	parts := len(dst) / (outer * inner)
	for i := range outer * parts {
		o, p := i/parts, i%parts
		copy(dst[i*inner:][:inner], src[(p*outer+o)*inner:])
	}
}

// separate copies src [outer, parts, inner] to dst [parts, outer, inner].
func separate(dst, src []float32, outer, inner int) {
	parts := len(dst) / (outer * inner)
	for i := range outer * parts {
		o, p := i/parts, i%parts
		copy(dst[(p*outer+o)*inner:][:inner], src[i*inner:])
	}
}
