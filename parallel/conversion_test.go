package parallel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/galvani-ml/galvani/graph"
	"golang.org/x/sync/errgroup"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

// placed gives each of n ranks its share of a whole tensor: the whole, a part,
// or a random part of the sum.
func placed(r *rand.Rand, whole []float64, shape tensor.Shape, at Placement, n int) [][]float64 {
	out := make([][]float64, n)
	for rank := range out {
		_, sharded := at.Dim()
		switch {
		case sharded:
			parts := Layout{at}.parts(len(shape), []graph.Axis{{Size: n, Rank: rank}}, []int{0})
			out[rank] = cut(whole, shape, parts)
		case at == Partial && rank > 0:
			out[rank] = make([]float64, len(whole))
			for i := range whole {
				out[rank][i] = r.NormFloat64()
				out[0][i] -= out[rank][i]
			}
		default:
			out[rank] = slices.Clone(whole)
		}
	}
	return out
}

// samePlaced checks that what the ranks hold is the whole tensor so placed.
func samePlaced(got [][]float64, whole []float64, shape tensor.Shape, at Placement) error {
	n := len(got)
	if at == Partial {
		var total []float64
		for _, x := range got {
			total = sum(total, x)
		}
		got = slices.Repeat([][]float64{total}, n)
		at = Replicate
	}
	for rank, want := range placed(nil, whole, shape, at, n) {
		if !slices.EqualFunc(got[rank], want, near) {
			return fmt.Errorf("rank %d has %v, expected %v", rank, got[rank], want)
		}
	}
	return nil
}

// ranked evaluates, on each of n ranks, a graph that build makes and
// differentiates; build returns the leaves' values and what to evaluate.
func ranked(n int, build func(axis graph.Axis) (leaves map[*G.Node][]float64, roots []*G.Node, err error)) ([][][]float64, error) {
	return meshed(Mesh{{AxisTP, n}}, func(axes []graph.Axis) (map[*G.Node][]float64, []*G.Node, error) { return build(axes[0]) })
}

// axesOf returns the axes of a mesh as a rank sees them.
func axesOf(mesh Mesh, rank int) []graph.Axis {
	var axes []graph.Axis
	for i, a := range mesh {
		axes = append(axes, graph.Axis{Name: a.Name, Size: a.Size, Rank: mesh.Coord(rank)[i]})
	}
	return axes
}

// meshed is ranked on the ranks of a mesh.
func meshed(mesh Mesh, build func(axes []graph.Axis) (leaves map[*G.Node][]float64, roots []*G.Node, err error)) ([][][]float64, error) {
	h := newHub()
	out := make([][][]float64, mesh.Size())
	var ranks errgroup.Group
	for rank := range mesh.Size() {
		ranks.Go(func() (err error) {
			defer func() {
				if err != nil {
					h.fail(err)
				}
			}()
			leaves, roots, err := build(axesOf(mesh, rank))
			if err != nil {
				return err
			}
			var micro int
			bind(h, &Part{Rank: rank, Stage: &graph.Stage{Graph: roots[0].Graph()}, Groups: mesh.Groups(rank)}, &micro)
			r := stageRun{leaves: map[*G.Node]G.Value{}}
			for leaf, x := range leaves {
				r.leaves[leaf] = tensorOf(graph.TypeOf(leaf), x)
			}
			vals := map[*G.Node]G.Value{}
			if err := r.run(graph.Order(roots...), vals); err != nil {
				return err
			}
			for _, root := range roots {
				out[rank] = append(out[rank], floats(vals[root]))
			}
			return nil
		})
	}
	return out, ranks.Wait()
}

func normal(r *rand.Rand, size int) []float64 {
	x := make([]float64, size)
	for i := range x {
		x[i] = r.NormFloat64()
	}
	return x
}

// TestConversions converts between every two placements on 2 and 3 ranks, and
// back by the gradient: a tensor placed as from becomes the same tensor placed
// as to, and a gradient placed as to.Gradient() becomes the same gradient placed
// as from.Gradient().
func TestConversions(t *testing.T) {
	placements := []Placement{Replicate, Copied, Partial, Shard(0), Shard(1)}
	impossible := map[[2]Placement]bool{}
	for _, p := range placements {
		if p != Copied {
			impossible[[2]Placement{Copied, p}] = true
		}
		if p != Partial {
			impossible[[2]Placement{p, Partial}] = true
		}
	}
	for _, n := range []int{2, 3} {
		for _, from := range placements {
			for _, to := range placements {
				t.Run(fmt.Sprintf("%v to %v on %d", from, to, n), func(t *testing.T) {
					checkConversion(t, from, to, n, impossible[[2]Placement{from, to}])
				})
			}
		}
	}
}

func checkConversion(t *testing.T, from, to Placement, n int, impossible bool) {
	r := rand.New(rand.NewPCG(3, 4))
	typ := graph.Type{Dtype: tensor.Float64, Shape: tensor.Shape{6, 12, 2}}
	x, dy := normal(r, typ.Size()), normal(r, typ.Size())
	xs, dys := placed(r, x, typ.Shape, from, n), placed(r, dy, typ.Shape, to.Gradient(), n)
	out, err := ranked(n, func(axis graph.Axis) (map[*G.Node][]float64, []*G.Node, error) {
		axes := []graph.Axis{axis}
		specs, err := conversion(from, to, axis)
		if err != nil {
			return nil, nil, err
		}
		g := G.NewGraph()
		local := func(name string, at Placement) *G.Node {
			typ, _ := Layout{at}.local(typ, axes)
			leaf, _ := graph.NewLeaf(g, name, typ)
			return leaf
		}
		in, seed := local("x", from), local("dy", to)
		y := in
		for _, s := range specs {
			if y, err = graph.Apply(s, graph.Tag{Name: "convert"}, y); err != nil {
				return nil, nil, err
			}
		}
		leaves := map[*G.Node][]float64{in: xs[axis.Rank], seed: dys[axis.Rank]}
		if y == in {
			return leaves, []*G.Node{in, seed}, nil
		}
		grads, err := G.Backpropagate(G.Nodes{y}, G.Nodes{seed}, G.Nodes{in})
		return leaves, append([]*G.Node{y}, grads...), err
	})
	var refused *ConversionError
	if impossible {
		if !errors.As(err, &refused) {
			t.Fatalf("error %v, expected a *ConversionError", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var y, dx [][]float64
	for _, values := range out {
		y, dx = append(y, values[0]), append(dx, values[1])
	}
	if err := samePlaced(y, x, typ.Shape, to); err != nil {
		t.Errorf("value: %v", err)
	}
	if err := samePlaced(dx, dy, typ.Shape, from.Gradient()); err != nil {
		t.Errorf("gradient: %v", err)
	}
}

// TestRoutesOverTwoAxes converts between layouts on two axes, which may shard
// the same dimension, step by step on copies of a whole tensor.
func TestRoutesOverTwoAxes(t *testing.T) {
	draw := rapid.SampledFrom([]Placement{Replicate, Shard(0), Shard(1)})
	rapid.Check(t, func(t *rapid.T) {
		mesh := Mesh{{"a", 2}, {"b", 3}}
		from, to := Layout{draw.Draw(t, "from a"), draw.Draw(t, "from b")}, Layout{draw.Draw(t, "to a"), draw.Draw(t, "to b")}
		shape := tensor.Shape{12, 6}
		x := make([]float64, shape.TotalSize())
		for i := range x {
			x[i] = float64(i)
		}
		local := func(l Layout, rank int) []float64 {
			c := mesh.Coord(rank)
			axes := []graph.Axis{{Name: "a", Size: 2, Rank: c[0]}, {Name: "b", Size: 3, Rank: c[1]}}
			return cut(x, shape, l.parts(2, axes, l.natural()))
		}
		axes := []graph.Axis{{Name: "a", Size: 2}, {Name: "b", Size: 3}}
		steps := route(from, to, from.natural())
		now := slices.Clone(from)
		for _, s := range steps {
			next := slices.Clone(now)
			next[s.axis] = s.to
			group := mesh.Group(axes[s.axis].Name, 0)
			checkStep(t, mesh, axes[s.axis].Name, now[s.axis], s.to, shape, func(rank int) []float64 { return local(now, rank) },
				func(rank int) []float64 { return local(next, rank) }, len(group))
			now = next
		}
		if !slices.Equal(now, to) {
			t.Fatalf("%v to %v ends at %v", from, to, now)
		}
	})
}

// checkStep checks that one conversion along an axis gives every rank what the
// next layout says, given what the ranks of its group have.
func checkStep(t *rapid.T, mesh Mesh, axis string, from, to Placement, shape tensor.Shape, have, want func(rank int) []float64, n int) {
	for rank := range mesh.Size() {
		group := mesh.Group(axis, rank)
		elements := map[float64]bool{}
		for _, q := range group {
			for _, v := range have(q) {
				elements[v] = true
			}
		}
		var joined []float64
		for v := range elements {
			joined = append(joined, v)
		}
		slices.Sort(joined)
		got := joined
		if d, sharded := to.Dim(); sharded {
			// The group's elements are a block of the whole: cut it again.
			rows := map[float64]bool{}
			for _, v := range joined {
				rows[float64(int(v)/shape[1])] = true
			}
			block := tensor.Shape{len(rows), len(joined) / len(rows)}
			parts := []graph.Part{{Count: 1}, {Count: 1}}
			parts[d] = graph.Part{Index: slices.Index(group, rank), Count: n}
			got = cut(joined, block, parts)
		}
		if !slices.Equal(got, want(rank)) {
			t.Fatalf("%s from %v to %v: rank %d gets %v, expected %v", axis, from, to, rank, got, want(rank))
		}
	}
}
