package exec_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// zero is a stage of data parallelism over axes whose parameters are sharded
// over all of them where a dimension divides, each axis splitting the parts of
// the one before, and gathered before use.
type zero struct {
	*graph.Stage
	axes    []graph.Axis
	dims    []int            // of each shard, -1 for one that is whole
	border  map[*G.Node]bool // results of layers
	sharded int64            // bytes of all parameters' shards
	wholes  int64            // bytes of those that are gathered
}

// axesOf are the axes as a rank sees them.
func axesOf(rank int, sizes ...int) []graph.Axis {
	axes := make([]graph.Axis, len(sizes))
	for i, size := range slices.Backward(sizes) {
		axes[i] = graph.Axis{Name: fmt.Sprintf("dp%d", i), Size: size, Rank: rank % size}
		rank /= size
	}
	return axes
}

// meet makes ranks whose groups are those of the axes.
func meet(sizes ...int) *exectest.Ranks {
	n := 1
	for _, size := range sizes {
		n *= size
	}
	ranks := exectest.NewRanks(n)
	inner := n
	for i, size := range sizes {
		inner /= size
		var groups [][]int
		for first := range n {
			if first/inner%size > 0 {
				continue
			}
			var group []int
			for k := range size {
				group = append(group, first+k*inner)
			}
			groups = append(groups, group)
		}
		ranks.Split(fmt.Sprintf("dp%d", i), groups...)
	}
	return ranks
}

// newZero builds the stage. With shard unset, all parameters are whole.
func newZero(m *graph.Model, axes []graph.Axis, shard bool, once graph.Once) (_ *zero, err error) {
	z := &zero{Stage: &graph.Stage{Graph: G.NewGraph()}, axes: axes}
	known := map[*G.Node]*G.Node{}
	for _, p := range m.Params {
		n, err := z.param(p, shard, once)
		if err != nil {
			return nil, err
		}
		known[p.Node] = n
	}
	for _, in := range m.Inputs {
		n, err := graph.NewLeaf(z.Graph, in.Name, graph.TypeOf(in.Node))
		if err != nil {
			return nil, err
		}
		known[in.Node] = n
		z.Inputs = append(z.Inputs, &graph.Input{Name: in.Name, Node: n})
	}
	for _, n := range graph.Order(m.Logits, m.Loss) {
		if known[n] != nil {
			continue
		}
		var in []*G.Node
		for _, c := range graph.Children(n) {
			in = append(in, known[c])
		}
		if known[n], err = graph.Rebuild(n, in...); err != nil {
			return nil, err
		}
	}
	z.Logits, z.Loss = known[m.Logits], known[m.Loss]
	z.border = map[*G.Node]bool{}
	for _, l := range m.Layers {
		z.border[known[l.Out]] = true
	}
	return z, z.Differentiate()
}

// param adds a parameter, and returns it as operations use it.
func (z *zero) param(p *graph.Param, shard bool, once graph.Once) (*G.Node, error) {
	n, index, dim := 1, 0, -1
	var names []string
	for _, a := range z.axes {
		n, index = n*a.Size, index*a.Size+a.Rank
		names = append(names, a.Name)
	}
	t := graph.TypeOf(p.Node)
	sh := &graph.Shard{Param: p, Parts: make([]graph.Part, t.Dims())}
	if shard {
		for i, size := range slices.Backward(t.Shape) {
			if size%n == 0 {
				dim = i
			}
		}
	}
	if dim < 0 {
		sh.SumOver = names
	} else {
		z.wholes += planned(t)
		t.Shape = slices.Clone(t.Shape)
		t.Shape[dim] /= n
		sh.Parts[dim] = graph.Part{Index: index, Count: n}
	}
	z.sharded += planned(t)
	node, err := graph.NewLeaf(z.Graph, p.Name, t)
	if err != nil {
		return nil, err
	}
	sh.Node = node
	z.Params, z.dims = append(z.Params, sh), append(z.dims, dim)
	for _, a := range slices.Backward(z.axes) {
		if dim < 0 || err != nil {
			break
		}
		tag := graph.Tag{Layer: p.Layer, Name: p.Name + "@" + a.Name, Once: once}
		node, err = graph.Apply(graph.AllGather{Axis: a, Dim: dim, PartialGrad: true}, tag, node)
	}
	return node, err
}

// planned is the bytes that a plan gives a tensor.
func planned(t graph.Type) int64 { return int64(t.Size()+15) / 16 * 64 }

// part cuts shard i out of a whole parameter.
func (z *zero) part(i int, whole []float64) []float64 {
	if z.dims[i] < 0 {
		return whole
	}
	p := z.Params[i].Parts[z.dims[i]]
	t := graph.TypeOf(z.Params[i].Node)
	shape := slices.Clone(t.Shape)
	shape[z.dims[i]] *= p.Count
	e := graph.Eval{
		In:  []graph.Operand{{Type: graph.Type{Dtype: t.Dtype, Shape: shape}, Data: whole}},
		Out: graph.Operand{Type: t, Data: make([]float64, t.Size())},
	}
	if err := (graph.Slice{Axis: graph.Axis{Size: p.Count, Rank: p.Index}, Dim: z.dims[i]}).Eval(&e); err != nil {
		panic(err)
	}
	return e.Out.Data
}

// zeroRun is what training with a zero gives.
type zeroRun struct {
	grads, params [][][]float32 // of each rank and shard, after the last step
	stats         []exec.Stats  // of each step
	losses        []float64     // of an evaluation after each step, and of a machine that borrows
}

const zeroMicro, zeroSteps = 3, 2

// trainZero trains a model on all ranks, each with its own rows, and evaluates
// after each step.
func trainZero(t *testing.T, sizes []int, shard bool, once graph.Once, disable ...exec.Pass) zeroRun {
	t.Helper()
	ranks := meet(sizes...)
	n := 1
	for _, size := range sizes {
		n *= size
	}
	size := exectest.Small
	size.Dropout = 0.1
	model, err := exectest.GPT(size, true)
	if err != nil {
		t.Fatal(err)
	}
	weights := exectest.Draw(rand.New(rand.NewPCG(8, 8)), graph.Whole(model), size.V)
	run := zeroRun{grads: make([][][]float32, n), params: make([][][]float32, n), stats: make([]exec.Stats, zeroSteps), losses: make([]float64, 2*zeroSteps)}
	err = parallel(n, func(rank int) error {
		z, err := newZero(model, axesOf(rank, sizes...), shard, once)
		if err != nil {
			return err
		}
		counted := func(s *graph.Shard) bool { return rank == 0 || len(s.SumOver) == 0 }
		p, err := exec.Compile(z.Stage, backend(t, 1), exec.Options{Train: true, Slots: zeroMicro, Counted: counted, Disable: disable})
		if err != nil {
			return err
		}
		checkPlan(t, backend(t, 1), p)
		return z.train(t, p, ranks.Rank(rank), rank, weights, model, &run)
	})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func (z *zero) train(t *testing.T, p *exec.Program, c exec.Comm, rank int, weights exectest.Values, model *graph.Model, run *zeroRun) error {
	m, err := exec.New(p, c)
	if err != nil {
		return err
	}
	defer m.Close()
	values := exectest.Values{}
	for i, s := range z.Params {
		values[s.Node] = z.part(i, weights[model.Params[i].Node])
	}
	exectest.SetParams(m, values)
	lent, err := exec.Compile(z.Stage, backend(t, 1), exec.Options{Borrow: true})
	if err != nil {
		return err
	}
	borrower, err := exec.Borrow(lent, c, m)
	if err != nil {
		return err
	}
	defer borrower.Close()
	ctx := t.Context()
	for step := range zeroSteps {
		for k := range zeroMicro {
			data := exectest.Draw(rand.New(rand.NewPCG(uint64(10*step+k), uint64(rank))), &graph.Stage{Inputs: z.Inputs}, exectest.Small.V)
			exectest.SetInputs(m, k, data)
			exectest.SetInputs(borrower, 0, data)
			if err := m.Forward(ctx, exec.MicroBatch{Slot: k, Step: step, Index: k}); err != nil {
				return err
			}
		}
		for k := range zeroMicro {
			mb := exec.MicroBatch{Slot: k, Step: step, Index: k, Last: k == zeroMicro-1}
			if err := m.Backward(ctx, mb, k == 0); err != nil {
				return err
			}
		}
		a := adamW
		a.Step, a.Clip, a.Eps = step+1, 0, 0.1 // a gradient of rounding errors must not decide anything
		stats, err := m.Update(ctx, a)
		if err != nil {
			return err
		}
		if err := m.Forward(ctx, exec.MicroBatch{Step: step}); err != nil {
			return err
		}
		if err := borrower.Forward(ctx, exec.MicroBatch{Step: step}); err != nil {
			return err
		}
		if rank == 0 {
			run.stats[step] = stats
			run.losses[2*step], run.losses[2*step+1] = float64(m.Loss(0)), float64(borrower.Loss(0))
		}
	}
	for _, p := range m.Params() {
		run.grads[rank] = append(run.grads[rank], slices.Clone(p.Grad))
		run.params[rank] = append(run.params[rank], slices.Clone(p.Value))
	}
	return nil
}

// TestZeRO trains with optimizer state, gradients and parameters sharded in
// turn, over one axis and over two, and compares with data parallelism whose
// ranks hold everything.
func TestZeRO(t *testing.T) {
	size := exectest.Small
	size.Dropout = 0.1
	model, err := exectest.GPT(size, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, sizes := range [][]int{{2}, {3}, {2, 2}} {
		want := trainZero(t, sizes, false, graph.OnceNever)
		for stage, once := range []graph.Once{graph.OnceBoth, graph.OnceForward, graph.OnceNever} {
			t.Run(fmt.Sprintf("%v stage %d", sizes, stage+1), func(t *testing.T) {
				got := trainZero(t, sizes, true, once)
				for step := range zeroSteps {
					sameStats(t, got.stats[step], want.stats[step])
				}
				exectest.Close(t, "losses", narrow(got.losses), want.losses, 1e-5)
				for rank := range got.grads {
					z, err := newZero(model, axesOf(rank, sizes...), true, once)
					if err != nil {
						t.Fatal(err)
					}
					for i, s := range z.Params {
						grad, value := z.part(i, widen(want.grads[rank][i])), z.part(i, widen(want.params[rank][i]))
						tolerance := 2e-5
						if strings.HasSuffix(s.Param.Name, "c_attn.bias") {
							tolerance = 1e-3 // no loss depends on keys' bias: its gradient is rounding errors
						}
						exectest.Close(t, "gradient of "+s.Param.Name, got.grads[rank][i], grad, tolerance)
						exectest.Close(t, s.Param.Name, got.params[rank][i], value, 2e-3)
						if once == graph.OnceBoth && len(sizes) == 1 && (!slices.Equal(got.grads[rank][i], narrow(grad)) || !slices.Equal(got.params[rank][i], narrow(value))) {
							t.Errorf("%s: the ranks' gradients are added in the same order, but bits differ", s.Param.Name)
						}
					}
				}
			})
		}
	}
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

// TestZeROMemory checks what each stage holds.
func TestZeROMemory(t *testing.T) {
	size := exectest.Size{B: 1, T: 4, C: 64, H: 2, V: 128, Layers: 2}
	model, err := exectest.GPT(size, true)
	if err != nil {
		t.Fatal(err)
	}
	for stage, once := range []graph.Once{graph.OnceNever, graph.OnceBoth, graph.OnceForward, graph.OnceNever} {
		z, err := newZero(model, axesOf(1, 4), stage > 0, once)
		if err != nil {
			t.Fatal(err)
		}
		p := compile(t, z.Stage, backend(t, 1), exec.Options{Train: true})
		want := map[exec.Class]int64{exec.Parameters: z.sharded, exec.Gradients: z.sharded, exec.OptimizerState: 2 * z.sharded}
		if stage == 1 || stage == 2 {
			want[exec.Parameters] += z.wholes
		}
		if stage == 1 {
			want[exec.Gradients] += z.wholes
		}
		got := p.Memory()
		for class, bytes := range want {
			if got[class] != bytes {
				t.Errorf("stage %d: %d bytes of %v, want %d", stage, got[class], class, bytes)
			}
		}
		// A bucket holds what does not need each other: all gathers, all scatters.
		for kind, n := range map[string]int{"all_gather": 1, "reduce_scatter": 1} {
			if count := strings.Count(p.Describe(), " "+kind+" "); stage == 1 && count != n {
				t.Errorf("%d instructions of kind %s, want %d", count, kind, n)
			}
		}
	}
}

// TestOnceChain uses a parameter as it is, after one conversion, and after a
// chain of all others, and compares its gradient over two micro-batches, on one
// rank, with what it is without them.
func TestOnceChain(t *testing.T) {
	axis := graph.Axis{Name: "dp", Size: 1}
	b := graph.NewBuilder(tensor.Float32)
	b.Layer("all", "all", "")
	x, w := b.Input("x", tensor.Float32, 1, 2, 3), b.Param("w", graph.Init{}, 3, 4)
	once := func(in *G.Node, specs ...graph.Spec) *G.Node {
		for _, s := range specs {
			var err error
			if in, err = graph.Apply(s, graph.Tag{Name: s.Kind(), Once: graph.OnceBoth}, in); err != nil {
				t.Fatal(err)
			}
		}
		return in
	}
	near := once(w, graph.AllGather{Axis: axis, PartialGrad: true})
	far := once(near, graph.Slice{Axis: axis, Dim: 1}, graph.Copy{Axis: axis}, graph.AllGather{Axis: axis, Dim: 1}, graph.AllToAll{Axis: axis, From: 1})
	y := b.Apply("y", graph.Linear{Contract: 1}, x, w)
	for i, v := range []*G.Node{near, far, far} {
		y = b.Apply(fmt.Sprint("add", i), graph.Add{}, y, b.Apply(fmt.Sprint("y", i), graph.Linear{Contract: 1}, x, v))
	}
	b.Logits(y)
	dy := b.Input("dy", tensor.Float32, 1, 2, 4)
	model, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	s := graph.Whole(model)
	grads, err := G.Backpropagate(G.Nodes{y}, G.Nodes{dy}, G.Nodes{w})
	if err != nil {
		t.Fatal(err)
	}
	s.Params[0].Grad = grads[0]
	back := backend(t, 1)
	for _, disable := range [][]exec.Pass{nil, {exec.Overlap}} {
		p := compile(t, s, back, exec.Options{Train: true, Disable: disable})
		checkPlan(t, back, p)
		m := machine(t, p, exectest.NewRanks(1).Rank(0))
		want := make([]float64, 12)
		for i := range 2 {
			data := exectest.Draw(rand.New(rand.NewPCG(3, uint64(i))), s, 1)
			exectest.SetParams(m, data)
			m.ParamsChanged()
			exectest.SetInputs(m, 0, data)
			for j := range want {
				for row := range 2 {
					want[j] += 4 * data[x][3*row+j/4] * data[dy][4*row+j%4]
				}
			}
			if err := m.Forward(t.Context(), exec.MicroBatch{Index: i}); err != nil {
				t.Fatal(err)
			}
			if err := m.Backward(t.Context(), exec.MicroBatch{Index: i, Last: i == 1}, i == 0); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := m.Update(t.Context(), adamW); err != nil {
			t.Fatal(err)
		}
		exectest.Close(t, "gradient", m.Params()[0].Grad, want, 1e-6)
	}
}

// TestParamsChanged writes parameters after a forward pass.
func TestParamsChanged(t *testing.T) {
	axis := graph.Axis{Name: "dp", Size: 1}
	b := graph.NewBuilder(tensor.Float32)
	b.Layer("all", "all", "")
	x, w := b.Input("x", tensor.Float32, 1, 1, 1), b.Param("w", graph.Init{}, 1, 1)
	gathered, err := graph.Apply(graph.AllGather{Axis: axis}, graph.Tag{Name: "gather", Once: graph.OnceBoth}, w)
	if err != nil {
		t.Fatal(err)
	}
	b.Logits(b.Apply("y", graph.Linear{Contract: 1}, x, gathered))
	model, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	m := machine(t, compile(t, graph.Whole(model), backend(t, 1), exec.Options{}), exectest.NewRanks(1).Rank(0))
	exectest.SetInput(m, 0, "x", []float64{1})
	for _, c := range []struct {
		write, want float32
		tell        bool
	}{{1, 1, false}, {2, 1, false}, {3, 3, true}} {
		m.Params()[0].Value[0] = c.write
		if c.tell {
			m.ParamsChanged()
		}
		if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil {
			t.Fatal(err)
		}
		if got := m.Logits(0)[0]; got != c.want {
			t.Errorf("after %g was written: %g, want %g", c.write, got, c.want)
		}
	}
	// What fails in the prologue runs again.
	m.ParamsChanged()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.Params()[0].Value[0] = 4
	var e *exec.RunError
	if err := m.Forward(ctx, exec.MicroBatch{}); !errors.As(err, &e) || e.Tag.Name != "gather" {
		t.Errorf("error %v", err)
	}
	if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil || m.Logits(0)[0] != 4 {
		t.Errorf("%g, error %v", m.Logits(0)[0], err)
	}
}

// TestOnceErrors compiles what cannot run once a step.
func TestOnceErrors(t *testing.T) {
	axis := graph.Axis{Name: "dp", Size: 1}
	gather := graph.AllGather{Axis: axis, PartialGrad: true}
	gelu := graph.Activation{F: graph.GELUTanh}
	for _, c := range []struct {
		name   string
		first  graph.Spec
		once   graph.Once
		then   graph.Spec
		thence graph.Once
		input  bool
		want   string
	}{
		{"input", gather, graph.OnceForward, nil, 0, true, "not made of parameters alone"},
		{"after one that is not", gather, graph.OnceNever, gather, graph.OnceForward, false, "not made of parameters alone"},
		{"not linear", gelu, graph.OnceBoth, nil, 0, false, "neither a collective nor a slice"},
		{"gradient of a micro-batch", gelu, graph.OnceForward, gather, graph.OnceBoth, false, "needs the result of an operation that runs once a step"},
	} {
		b := graph.NewBuilder(tensor.Float32)
		b.Layer("all", "all", "")
		w := b.Param("w", graph.Init{}, 2, 3)
		x := b.Input("x", tensor.Float32, 2, 3)
		on := w
		if c.input {
			on = x
		}
		n, err := graph.Apply(c.first, graph.Tag{Name: "first", Once: c.once}, on)
		if err == nil && c.then != nil {
			n, err = graph.Apply(c.then, graph.Tag{Name: "then", Once: c.thence}, n)
		}
		if err != nil {
			t.Fatal(err)
		}
		y := b.Logits(b.Apply("y", graph.Add{}, n, b.Apply("z", graph.Add{}, w, x)))
		model, err := b.Model()
		if err != nil {
			t.Fatal(err)
		}
		s := graph.Whole(model)
		dy, err := graph.NewLeaf(s.Graph, "dy", graph.TypeOf(y))
		if err != nil {
			t.Fatal(err)
		}
		s.Seeds = append(s.Seeds, dy)
		grads, err := G.Backpropagate(G.Nodes{y}, G.Nodes{dy}, G.Nodes{w})
		if err != nil {
			t.Fatal(err)
		}
		s.Params[0].Grad = grads[0]
		_, err = exec.Compile(s, backend(t, 1), exec.Options{Train: true})
		var e *exec.CompileError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// TestDescribeOnce holds the listing of ZeRO-1 and ZeRO-3 fixed: what runs once
// a step, what together, and what beside the computation.
func TestDescribeOnce(t *testing.T) {
	model, err := exectest.GPT(exectest.Size{B: 1, T: 2, C: 4, H: 1, V: 6, Layers: 1}, true)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, once := range []graph.Once{graph.OnceBoth, graph.OnceNever} {
		z, err := newZero(model, axesOf(0, 2), true, once)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "once %d\n%s", once, compile(t, z.Stage, backend(t, 1), exec.Options{Train: true}).Describe())
	}
	golden(t, "once.txt", out.String())
}
