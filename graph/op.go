package graph

import (
	"encoding/binary"
	"fmt"
	"hash"
	"sync/atomic"

	"github.com/chewxy/hm"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Op is the operation of every node Galvani builds. It implements Gorgonia's
// Op and SDOp interfaces over a Spec.
type Op struct {
	Spec Spec
	Tag  Tag

	id    uint32
	in    []Type
	out   Type
	side  []Type
	peers Peers
	saved []Operand // side outputs of the last Do, for Side nodes under TapeMachine
}

var lastID atomic.Uint32

func newOp(s Spec, tag Tag, in []Type) (*Op, error) {
	out, side, err := s.Infer(in)
	if err != nil {
		return nil, err
	}
	return &Op{Spec: s, Tag: tag, id: lastID.Add(1), in: in, out: out, side: side}, nil
}

// OpOf returns the Galvani operation of n, nil for leaves and Gorgonia's sums.
func OpOf(n *G.Node) *Op {
	op, _ := n.Op().(*Op)
	return op
}

// Out returns the type of the result.
func (o *Op) Out() Type { return o.out }

// In returns the types of the operands.
func (o *Op) In() []Type { return o.in }

// SideTypes returns the types of the side outputs.
func (o *Op) SideTypes() []Type { return o.side }

// BindPeers gives a collective the group its reference evaluation runs in.
func (o *Op) BindPeers(p Peers) { o.peers = p }

// Arity is the number of operands.
func (o *Op) Arity() int { return len(o.in) }

// Type gives the operation's function type. Gorgonia recycles the value it
// gets, so each call makes a new one.
func (o *Op) Type() hm.Type {
	ts := make([]hm.Type, 0, len(o.in)+1)
	for _, t := range o.in {
		ts = append(ts, t.hm())
	}
	return hm.NewFnType(append(ts, o.out.hm())...)
}

// InferShape gives the shape found when the node was made.
func (o *Op) InferShape(...G.DimSizer) (tensor.Shape, error) { return o.out.Shape.Clone(), nil }

// ReturnsPtr is false: Do allocates its result.
func (o *Op) ReturnsPtr() bool { return false }

// CallsExtern is false: Do is Go code.
func (o *Op) CallsExtern() bool { return false }

// OverwritesInput is -1: Do leaves its operands as they are.
func (o *Op) OverwritesInput() int { return -1 }

// String names the operation and its place.
func (o *Op) String() string { return fmt.Sprintf("%s#%d %s", o.Spec.Kind(), o.id, o.Tag.Name) }

// Hashcode is unique, so that no two operations are ever taken for the same.
func (o *Op) Hashcode() uint32 { return o.id }

// WriteHash writes the unique hash.
func (o *Op) WriteHash(h hash.Hash) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], o.id)
	h.Write([]byte(o.Spec.Kind()))
	h.Write(b[:])
}

// DiffWRT says which operands have a gradient.
func (o *Op) DiffWRT(n int) []bool {
	if d, ok := o.Spec.(Differentiable); ok {
		return d.Wrt(n)
	}
	return make([]bool, n)
}

// SymDiff adds the gradient's nodes to the graph.
func (o *Op) SymDiff(in G.Nodes, out, dy *G.Node) (G.Nodes, error) {
	d, ok := o.Spec.(Differentiable)
	if !ok {
		return nil, fmt.Errorf("%v: %s has no gradient", o.Tag, o.Spec.Kind())
	}
	tag := o.Tag
	tag.Pass = Backward
	g := &Gradient{In: in, Out: out, Dy: dy, tag: tag}
	grads := d.Grad(g)
	return grads, g.err
}

// Do is the reference evaluation, for Gorgonia's machines. Results have the
// element type found by Infer; the computation is in float64.
func (o *Op) Do(vs ...G.Value) (G.Value, error) {
	e := &Eval{Peers: o.peers, Name: o.Tag.Name, Out: Operand{o.out, make([]float64, o.out.Size())}}
	if o.Tag.Recompute {
		e.Name += " (recompute)"
	}
	for i, v := range vs {
		data, err := toFloat64(v)
		if err != nil {
			return nil, fmt.Errorf("%v: %s: operand %d: %w", o.Tag, o.Spec.Kind(), i, err)
		}
		e.In = append(e.In, Operand{o.in[i], data})
	}
	for _, t := range o.side {
		e.Side = append(e.Side, Operand{t, make([]float64, t.Size())})
	}
	if err := o.Spec.Eval(e); err != nil {
		return nil, fmt.Errorf("%v: %s: %w", o.Tag, o.Spec.Kind(), err)
	}
	o.saved = e.Side
	return fromFloat64(e.Out)
}

func toFloat64(v G.Value) ([]float64, error) {
	switch d := v.Data().(type) {
	case float32:
		return []float64{float64(d)}, nil
	case float64:
		return []float64{d}, nil
	case []float32:
		return widen(d), nil
	case []float64:
		return d, nil
	case []int32:
		return widen(d), nil
	default:
		return nil, fmt.Errorf("values of type %T are not supported", d)
	}
}

func widen[T float32 | int32](x []T) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func fromFloat64(x Operand) (G.Value, error) {
	if x.Dtype == tensor.Int32 {
		return fromInts(x), nil
	}
	if len(x.Shape) == 0 {
		if x.Dtype == tensor.Float32 {
			return G.NewF32(float32(x.Data[0])), nil
		}
		return G.NewF64(x.Data[0]), nil
	}
	if x.Dtype == tensor.Float64 {
		return tensor.New(tensor.WithShape(x.Shape...), tensor.WithBacking(x.Data)), nil
	}
	narrow := make([]float32, len(x.Data))
	for i, v := range x.Data {
		narrow[i] = float32(v)
	}
	return tensor.New(tensor.WithShape(x.Shape...), tensor.WithBacking(narrow)), nil
}

func fromInts(x Operand) G.Value {
	ints := make([]int32, len(x.Data))
	for i, v := range x.Data {
		ints[i] = int32(v)
	}
	if len(x.Shape) == 0 {
		return G.NewI32(ints[0])
	}
	return tensor.New(tensor.WithShape(x.Shape...), tensor.WithBacking(ints))
}
