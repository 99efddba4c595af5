package graph

import (
	"fmt"

	G "gorgonia.org/gorgonia"
)

// Axis is one named axis of the device mesh as a rank sees it.
type Axis struct {
	Name string // "dp", "tp", ...
	Size int    // ranks along the axis
	Rank int    // this rank's coordinate
}

// Peers is the group of ranks along an axis, as reference evaluations need it:
// every rank gives a tensor and gets those of all, in rank order. Name tells
// one exchange from another.
type Peers interface {
	Exchange(name string, x Operand) ([]Operand, error)
}

// Collective is a Spec that needs the other ranks of an axis.
type Collective interface {
	Spec
	Group() Axis
}

// AllReduce sums over the axis: Partial to Replicate. Its gradient is the
// identity.
type AllReduce struct{ Axis Axis }

// Copy is the identity from Replicate to a use that differs by rank; its
// gradient is summed over the axis. It is the mirror of AllReduce.
type Copy struct{ Axis Axis }

// AllGather joins the shards along Dim: Shard to Replicate. Where the gradient
// that comes back is partial it is reduce-scattered, else sliced.
type AllGather struct {
	Axis        Axis
	Dim         int
	PartialGrad bool
}

// ReduceScatter sums over the axis and keeps one part along Dim: Partial to
// Shard. Its gradient is gathered.
type ReduceScatter struct {
	Axis Axis
	Dim  int
}

// Slice keeps one part along Dim: Replicate to Shard. Its gradient is gathered.
type Slice struct {
	Axis Axis
	Dim  int
}

// AllToAll turns shards along From into shards along To. Its gradient is the
// reverse.
type AllToAll struct {
	Axis     Axis
	From, To int
}

// Rotate passes every rank's tensor on along the ring of the axis: rank r gets
// that of rank r-Shift, counted around. Its gradient passes back.
type Rotate struct {
	Axis  Axis
	Shift int
}

// Kind is "all_reduce".
func (AllReduce) Kind() string { return "all_reduce" }

// Kind is "copy".
func (Copy) Kind() string { return "copy" }

// Kind is "all_gather".
func (AllGather) Kind() string { return "all_gather" }

// Kind is "reduce_scatter".
func (ReduceScatter) Kind() string { return "reduce_scatter" }

// Kind is "slice".
func (Slice) Kind() string { return "slice" }

// Kind is "all_to_all".
func (AllToAll) Kind() string { return "all_to_all" }

// Kind is "rotate".
func (Rotate) Kind() string { return "rotate" }

// Group returns the axis.
func (s AllReduce) Group() Axis { return s.Axis }

// Group returns the axis.
func (s AllGather) Group() Axis { return s.Axis }

// Group returns the axis.
func (s ReduceScatter) Group() Axis { return s.Axis }

// Group returns the axis.
func (s AllToAll) Group() Axis { return s.Axis }

// Group returns the axis.
func (s Rotate) Group() Axis { return s.Axis }

// Infer gives x's type. Only real numbers are summed.
func (s AllReduce) Infer(in []Type) (Type, []Type, error) {
	if err := arity(in, 1, 1); err != nil {
		return Type{}, nil, err
	}
	return in[0], nil, floats(in...)
}

// Infer gives x's type.
func (s Copy) Infer(in []Type) (Type, []Type, error) { return in[0], nil, arity(in, 1, 1) }

// Infer multiplies Dim by the axis's size.
func (s AllGather) Infer(in []Type) (Type, []Type, error) {
	return resized(in, s.Dim, s.Axis.Size, 1)
}

// Infer divides Dim by the axis's size. Only real numbers are summed.
func (s ReduceScatter) Infer(in []Type) (Type, []Type, error) {
	if err := floats(in...); err != nil {
		return Type{}, nil, err
	}
	return resized(in, s.Dim, 1, s.Axis.Size)
}

// Infer divides Dim by the axis's size.
func (s Slice) Infer(in []Type) (Type, []Type, error) {
	return resized(in, s.Dim, 1, s.Axis.Size)
}

// Infer multiplies From and divides To by the axis's size.
func (s AllToAll) Infer(in []Type) (Type, []Type, error) {
	out, _, err := resized(in, s.From, s.Axis.Size, 1)
	if err != nil {
		return Type{}, nil, err
	}
	return resized([]Type{out}, s.To, 1, s.Axis.Size)
}

// Infer gives x's type.
func (s Rotate) Infer(in []Type) (Type, []Type, error) { return in[0], nil, arity(in, 1, 1) }

// resized gives x's type with dimension dim times mul over div.
func resized(in []Type, dim, mul, div int) (Type, []Type, error) {
	if err := arity(in, 1, 1); err != nil {
		return Type{}, nil, err
	}
	x := in[0]
	if dim < 0 || dim >= x.Dims() {
		return Type{}, nil, fmt.Errorf("%v has no dimension %d", x, dim)
	}
	if x.Shape[dim]%div != 0 {
		return Type{}, nil, fmt.Errorf("dimension %d of %v does not divide by the axis's %d ranks", dim, x, div)
	}
	shape := append([]int{}, x.Shape...)
	shape[dim] = shape[dim] * mul / div
	return x.like(shape...), nil, nil
}

// Wrt is true.
func (AllReduce) Wrt(int) []bool { return []bool{true} }

// Wrt is true.
func (Copy) Wrt(int) []bool { return []bool{true} }

// Wrt is true.
func (AllGather) Wrt(int) []bool { return []bool{true} }

// Wrt is true.
func (ReduceScatter) Wrt(int) []bool { return []bool{true} }

// Wrt is true.
func (Slice) Wrt(int) []bool { return []bool{true} }

// Wrt is true.
func (AllToAll) Wrt(int) []bool { return []bool{true} }

// Wrt is true.
func (Rotate) Wrt(int) []bool { return []bool{true} }

// Grad is the identity.
func (AllReduce) Grad(g *Gradient) []*G.Node { return []*G.Node{g.Dy} }

// Grad is the all-reduce.
func (s Copy) Grad(g *Gradient) []*G.Node { return []*G.Node{g.Apply(AllReduce(s), g.Dy)} }

// Grad is a reduce-scatter or a slice.
func (s AllGather) Grad(g *Gradient) []*G.Node {
	if s.PartialGrad {
		return []*G.Node{g.Apply(ReduceScatter{s.Axis, s.Dim}, g.Dy)}
	}
	return []*G.Node{g.Apply(Slice{s.Axis, s.Dim}, g.Dy)}
}

// Grad is the all-gather.
func (s ReduceScatter) Grad(g *Gradient) []*G.Node {
	return []*G.Node{g.Apply(AllGather{Axis: s.Axis, Dim: s.Dim}, g.Dy)}
}

// Grad is the all-gather.
func (s Slice) Grad(g *Gradient) []*G.Node {
	return []*G.Node{g.Apply(AllGather{Axis: s.Axis, Dim: s.Dim}, g.Dy)}
}

// Grad is the reverse all-to-all.
func (s AllToAll) Grad(g *Gradient) []*G.Node {
	return []*G.Node{g.Apply(AllToAll{s.Axis, s.To, s.From}, g.Dy)}
}

// Grad passes back.
func (s Rotate) Grad(g *Gradient) []*G.Node {
	return []*G.Node{g.Apply(Rotate{s.Axis, -s.Shift}, g.Dy)}
}

// exchange gives every rank's operand.
func exchange(e *Eval) ([]Operand, error) {
	if e.Peers == nil {
		return nil, fmt.Errorf("%s needs a group of ranks: bind one with BindPeers", e.Name)
	}
	return e.Peers.Exchange(e.Name, e.In[0])
}

// Eval sums.
func (AllReduce) Eval(e *Eval) error {
	all, err := exchange(e)
	for _, x := range all {
		axpy(e.Out.Data, 1, x.Data)
	}
	return err
}

// Eval copies.
func (Copy) Eval(e *Eval) error {
	copy(e.Out.Data, e.In[0].Data)
	return nil
}

// Eval joins the shards.
func (s AllGather) Eval(e *Eval) error {
	all, err := exchange(e)
	for r, x := range all {
		copyPart(e.Out, x, s.Dim, r, true)
	}
	return err
}

// Eval sums this rank's part of every operand.
func (s ReduceScatter) Eval(e *Eval) error {
	all, err := exchange(e)
	part := Operand{e.Out.Type, make([]float64, e.Out.Size())}
	for _, x := range all {
		copyPart(x, part, s.Dim, s.Axis.Rank, false)
		axpy(e.Out.Data, 1, part.Data)
	}
	return err
}

// Eval copies this rank's part.
func (s Slice) Eval(e *Eval) error {
	copyPart(e.In[0], e.Out, s.Dim, s.Axis.Rank, false)
	return nil
}

// Eval takes this rank's part along To of every shard and joins them along
// From.
func (s AllToAll) Eval(e *Eval) error {
	all, err := exchange(e)
	for r, x := range all {
		shape := append([]int{}, x.Shape...)
		shape[s.To] /= s.Axis.Size
		t := x.like(shape...)
		part := Operand{t, make([]float64, t.Size())}
		copyPart(x, part, s.To, s.Axis.Rank, false)
		copyPart(e.Out, part, s.From, r, true)
	}
	return err
}

// Eval copies the operand of the rank that comes Shift before.
func (s Rotate) Eval(e *Eval) error {
	all, err := exchange(e)
	if err != nil {
		return err
	}
	n := len(all)
	copy(e.Out.Data, all[((s.Axis.Rank-s.Shift)%n+n)%n].Data)
	return nil
}

// copyPart copies between a tensor and its part number index along dim: into
// whole where toWhole is set, else into part.
func copyPart(whole, part Operand, dim, index int, toWhole bool) {
	inner := part.Cols(part.Dims() - dim)
	stride := whole.Cols(whole.Dims() - dim)
	for outer := range part.Size() / inner {
		w := whole.Data[outer*stride+index*inner:][:inner]
		p := part.Data[outer*inner:][:inner]
		if toWhole {
			copy(w, p)
		} else {
			copy(p, w)
		}
	}
}
