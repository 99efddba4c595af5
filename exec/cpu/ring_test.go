package cpu_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// ringCase is attention of a sequence of ranks times tokens.
type ringCase struct {
	spec                         graph.Attention
	ranks, tokens                int
	batch, heads, kvHeads, width int
}

func (c ringCase) String() string {
	return fmt.Sprintf("%d ranks of %d tokens, %d and %d heads of %d, %+v", c.ranks, c.tokens, c.heads, c.kvHeads, c.width, c.spec)
}

// types are those of q, k and v, or qkv, for that many tokens.
func (c ringCase) types(tokens int) []graph.Type {
	if c.spec.Packed {
		return []graph.Type{f32(c.batch, tokens, 3, c.heads, c.width)}
	}
	kv := f32(c.batch, tokens, c.kvHeads, c.width)
	return []graph.Type{f32(c.batch, tokens, c.heads, c.width), kv, kv}
}

// stage makes a stage of attention of that many tokens that apply builds. Its
// operands are parameters; the mask is of the whole sequence.
func (c ringCase) stage(tokens int, apply func(in ...*G.Node) (*G.Node, error)) (*graph.Stage, error) {
	s := &graph.Stage{Graph: G.NewGraph()}
	var in []*G.Node
	for i, typ := range c.types(tokens) {
		n, err := graph.NewLeaf(s.Graph, fmt.Sprint("operand ", i), typ)
		if err != nil {
			return nil, err
		}
		in = append(in, n)
		s.Params = append(s.Params, &graph.Shard{Node: n, Param: &graph.Param{Name: n.Name(), Node: n, Shape: typ.Shape, Stored: typ.Shape}})
	}
	wrt := slices.Clone(in)
	input := func(name string, typ graph.Type) (*G.Node, error) {
		n, err := graph.NewLeaf(s.Graph, name, typ)
		s.Inputs = append(s.Inputs, &graph.Input{Name: name, Node: n})
		return n, err
	}
	if c.spec.Masked {
		mask, err := input(graph.InputMask, i32(c.batch, c.ranks*c.tokens))
		if err != nil {
			return nil, err
		}
		in = append(in, mask)
	}
	var err error
	if s.Logits, err = apply(in...); err != nil {
		return nil, err
	}
	dy, err := input("dy", graph.TypeOf(s.Logits))
	if err != nil {
		return nil, err
	}
	grads, err := G.Backpropagate(G.Nodes{s.Logits}, G.Nodes{dy}, wrt)
	if err != nil {
		return nil, err
	}
	for i, p := range s.Params {
		p.Grad = grads[i]
	}
	return s, nil
}

// ring makes the stage of one rank.
func (c ringCase) ring(rank int) (*graph.Stage, error) {
	axis := graph.Axis{Name: "cp", Size: c.ranks, Rank: rank}
	return c.stage(c.tokens, func(in ...*G.Node) (*G.Node, error) {
		return graph.RingAttention{Attention: c.spec, Axis: axis}.Apply(graph.Tag{Name: "ring"}, in...)
	})
}

// part cuts a rank's tokens out of x [B, T, ...].
func (c ringCase) part(x []float64, rank int) []float64 {
	n := len(x) / c.batch / c.ranks
	var part []float64
	for b := range c.batch {
		part = append(part, x[(b*c.ranks+rank)*n:][:n]...)
	}
	return part
}

// TestRingAttention runs attention on the ranks of a ring and compares results
// and gradients, of two micro-batches, with the TapeMachine's for the whole.
func TestRingAttention(t *testing.T) {
	packed, masked := graph.Attention{Causal: true, Packed: true}, graph.Attention{Masked: true}
	both := graph.Attention{Causal: true, Packed: true, Masked: true}
	for _, c := range []ringCase{
		{packed, 1, 5, 2, 2, 2, 3}, {packed, 2, 3, 2, 2, 2, 4}, {packed, 3, 1, 1, 3, 3, 5}, {packed, 4, 70, 1, 2, 2, 16},
		{masked, 2, 7, 2, 2, 2, 3}, {masked, 3, 33, 2, 4, 2, 8}, {masked, 4, 2, 3, 2, 1, 4},
		{graph.Attention{Causal: true}, 3, 65, 1, 2, 1, 20}, {graph.Attention{Packed: true}, 4, 5, 2, 2, 2, 7},
		{both, 2, 66, 2, 2, 2, 6}, {both, 4, 3, 2, 1, 1, 5},
	} {
		t.Run(c.String(), func(t *testing.T) { c.check(t) })
	}
}

func (c ringCase) check(t *testing.T) {
	whole, err := c.stage(c.ranks*c.tokens, func(in ...*G.Node) (*G.Node, error) {
		return graph.Apply(c.spec, graph.Tag{Name: "whole"}, in...)
	})
	if err != nil {
		t.Fatal(err)
	}
	data := exectest.Draw(rand.New(rand.NewPCG(1, 2)), whole, 0)
	roots := []*G.Node{whole.Logits}
	for _, p := range whole.Params {
		roots = append(roots, p.Grad)
	}
	want := exectest.Reference(t, whole.Graph, data, roots...)
	ranks := exectest.NewRanks(c.ranks)
	errs := make([]error, c.ranks)
	var all sync.WaitGroup
	for rank := range c.ranks {
		all.Go(func() { errs[rank] = c.checkRank(t, ranks.Rank(rank), rank, whole, data, want) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func (c ringCase) checkRank(t *testing.T, comm exec.Comm, rank int, whole *graph.Stage, data exectest.Values, want [][]float64) error {
	s, err := c.ring(rank)
	if err != nil {
		return err
	}
	b, err := cpu.New(1 + rank%2)
	if err != nil {
		return err
	}
	defer b.Close()
	p, err := exec.Compile(s, b, exec.Options{Train: true})
	if err != nil {
		return err
	}
	m, err := exec.New(p, comm)
	if err != nil {
		return err
	}
	defer m.Close()
	mine := exectest.Values{}
	for i, p := range s.Params {
		mine[p.Node] = c.part(data[whole.Params[i].Node], rank)
	}
	for i, in := range s.Inputs {
		if mine[in.Node] = data[whole.Inputs[i].Node]; in.Name != graph.InputMask {
			mine[in.Node] = c.part(mine[in.Node], rank)
		}
	}
	exectest.SetParams(m, mine)
	for i := range 2 {
		mb := exec.MicroBatch{Index: i}
		exectest.SetInputs(m, 0, mine)
		if err := m.Forward(t.Context(), mb); err != nil {
			return err
		}
		exectest.Close(t, "result", m.Logits(0), c.part(want[0], rank), 1e-5)
		if err := m.Backward(t.Context(), mb, i == 0); err != nil {
			return err
		}
		for j, p := range m.Params() {
			exectest.Close(t, "gradient of "+p.Shard.Param.Name, p.Grad, times(c.part(want[1+j], rank), i+1), 1e-5)
		}
	}
	return nil
}

// TestRingMemory shows that a rank's memory does not grow with the number of
// ranks, so neither with the length of the sequence.
func TestRingMemory(t *testing.T) {
	b := backend(t, 1)
	for _, s := range []graph.Attention{{Causal: true, Packed: true}, {}} {
		need := func(ranks int) exec.Memory {
			stage, err := ringCase{s, ranks, 256, 1, 2, 2, 64}.ring(ranks - 1)
			if err != nil {
				t.Fatal(err)
			}
			p, err := exec.Compile(stage, b, exec.Options{Train: true})
			if err != nil {
				t.Fatal(err)
			}
			return p.Memory()
		}
		if few, many := need(3), need(16); many.Total() > few.Total() {
			t.Errorf("%+v: %v on 16 ranks, %v on 3", s, many, few)
		}
	}
}

// TestRingSkips shows that blocks after the queries cost no arithmetic: the
// ranks of a causal ring together compute no more than one device, half of all
// pairs.
func TestRingSkips(t *testing.T) {
	b := backend(t, 1)
	flops := func(stage *graph.Stage, err error) (n int64) {
		if err != nil {
			t.Fatal(err)
		}
		forward, backward := stage.Roots()
		seen := map[*G.Node]bool{}
		for _, node := range graph.Order(append(forward, backward...)...) {
			op := graph.OpOf(node)
			if op == nil || seen[node] {
				continue
			}
			seen[node] = true
			switch op.Spec.(type) {
			case graph.AttentionBlock, graph.AttentionBlockGrad:
				k, err := b.Lower(exec.Call{Spec: op.Spec, In: op.In(), Out: append([]graph.Type{op.Out()}, op.SideTypes()...)})
				if err != nil {
					t.Fatal(err)
				}
				n += k.FLOPs
			}
		}
		return n
	}
	c := ringCase{graph.Attention{Causal: true, Packed: true}, 4, 16, 1, 1, 1, 8}
	var total int64
	for rank := range c.ranks {
		n := flops(c.ring(rank))
		if want := 2 * 7 * int64(8*(16*17/2+16*16*rank)); n != want {
			t.Errorf("rank %d: %d FLOPs, want %d", rank, n, want)
		}
		total += n
	}
	if want := int64(2 * 7 * 8 * 64 * 65 / 2); total != want {
		t.Errorf("%d FLOPs on all ranks, want %d", total, want)
	}
}
