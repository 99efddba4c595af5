package exec_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

// parallel runs f for each rank at once and returns the first error.
func parallel(n int, f func(rank int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// given is a group whose operands are all known.
type given []graph.Operand

func (g given) Exchange(string, graph.Operand) ([]graph.Operand, error) { return g, nil }

// TestCollectives compares collectives along every dimension with their
// operations' own evaluation.
func TestCollectives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3).Draw(t, "ranks")
		shape := make([]int, rapid.IntRange(1, 4).Draw(t, "dims"))
		for i := range shape {
			shape[i] = rapid.IntRange(1, 2).Draw(t, "size") * n
		}
		dim := rapid.IntRange(0, len(shape)-1).Draw(t, "dim")
		to := rapid.IntRange(0, len(shape)-1).Draw(t, "to")
		kind := rapid.IntRange(0, 5).Draw(t, "kind")
		shift := rapid.IntRange(-4, 4).Draw(t, "shift")
		spec := func(rank int) graph.Spec {
			axis := graph.Axis{Name: "tp", Size: n, Rank: rank}
			return []graph.Spec{
				graph.AllReduce{Axis: axis}, graph.AllGather{Axis: axis, Dim: dim}, graph.ReduceScatter{Axis: axis, Dim: dim},
				graph.Slice{Axis: axis, Dim: dim}, graph.AllToAll{Axis: axis, From: dim, To: to},
				graph.Rotate{Axis: axis, Shift: shift},
			}[kind]
		}
		r := rand.New(rand.NewPCG(1, 1))
		typ := graph.Type{Dtype: tensor.Float32, Shape: shape}
		if kind != 0 && kind != 2 && rapid.Bool().Draw(t, "integers") { // neither sums
			typ.Dtype = tensor.Int32
		}
		operands := given{}
		for range n {
			x := make([]float64, typ.Size())
			for i := range x {
				x[i] = float64(r.IntN(100))
			}
			operands = append(operands, graph.Operand{Type: typ, Data: x})
		}
		ranks := exectest.NewRanks(n)
		err := parallel(n, func(rank int) error {
			got, out, err := runOne(spec(rank), ranks.Rank(rank), operands[rank])
			if err != nil {
				return err
			}
			e := graph.Eval{In: []graph.Operand{operands[rank]}, Out: graph.Operand{Type: out, Data: make([]float64, out.Size())}, Peers: operands}
			if err := spec(rank).Eval(&e); err != nil {
				return err
			}
			exectest.Close(t, spec(rank).Kind(), got, e.Out.Data, 0)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// runOne runs a single operation on x.
func runOne(s graph.Spec, c exec.Comm, x graph.Operand) ([]float32, graph.Type, error) {
	b := graph.NewBuilder(tensor.Float32)
	b.Layer("all", "all", "")
	in := b.Input("x", x.Dtype, x.Shape...)
	b.Logits(b.Apply("op", s, in))
	m, err := b.Model()
	if err != nil {
		return nil, graph.Type{}, err
	}
	back := plainBackend{}
	p, err := exec.Compile(graph.Whole(m), back, exec.Options{})
	if err != nil {
		return nil, graph.Type{}, err
	}
	machine, err := exec.New(p, c)
	if err != nil {
		return nil, graph.Type{}, err
	}
	defer machine.Close()
	exectest.SetInputs(machine, 0, exectest.Values{in: x.Data})
	err = machine.Forward(context.Background(), exec.MicroBatch{})
	y := machine.Logits(0)
	if x.Dtype == tensor.Int32 {
		y = slices.Clone(y)
		for i, bits := range y {
			y[i] = float32(int32(math.Float32bits(bits)))
		}
	}
	return y, graph.TypeOf(m.Logits), err
}

// plainBackend runs operations by their own evaluation, in float64.
type plainBackend struct{ exec.Backend }

func (plainBackend) Overhead() int64       { return 0 }
func (plainBackend) Alloc(n int) []float32 { return make([]float32, n) }
func (plainBackend) Free([]float32)        {}

func (plainBackend) Lower(c exec.Call) (*exec.Kernel, error) { return exec.Reference(c) }

var adamW = exec.AdamW{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Clip: 1, Step: 1}

// trained runs one step of a whole batch on one rank.
func trained(t *testing.T, s *graph.Stage, data exectest.Values) (*exec.Machine, exec.Stats) {
	t.Helper()
	m := machine(t, compile(t, s, backend(t, 1), exec.Options{Train: true}), nil)
	exectest.SetParams(m, data)
	exectest.SetInputs(m, 0, data)
	pass(t, m, exec.MicroBatch{})
	stats, err := m.Update(t.Context(), adamW)
	if err != nil {
		t.Fatal(err)
	}
	return m, stats
}

func sameStats(t *testing.T, got, want exec.Stats) {
	t.Helper()
	if math.Abs(got.Loss-want.Loss) > 1e-6*want.Loss || math.Abs(got.GradNorm-want.GradNorm) > 1e-5*want.GradNorm {
		t.Errorf("%+v, on one rank %+v", got, want)
	}
}

// TestDataParallel trains on two ranks, each with half the rows, and compares
// with one rank.
func TestDataParallel(t *testing.T) {
	z := exectest.Small
	z.B = 4
	whole := trainable(t, exectest.GPT, z)
	data := exectest.Draw(rand.New(rand.NewPCG(2, 2)), whole, z.V)
	want, wantStats := trained(t, whole, data)

	z.B = 2
	ranks := exectest.NewRanks(2)
	var machines []*exec.Machine
	for i := range 2 {
		s := trainable(t, exectest.GPT, z)
		for _, p := range s.Params {
			p.SumOver = []string{"dp"}
		}
		counted := func(*graph.Shard) bool { return i == 0 }
		m := machine(t, compile(t, s, backend(t, 1), exec.Options{Train: true, Counted: counted}), ranks.Rank(i))
		part := rows(s, whole, data, 2*i, 2)
		exectest.SetParams(m, part)
		exectest.SetInputs(m, 0, part)
		pass(t, m, exec.MicroBatch{})
		machines = append(machines, m)
	}
	stats := make([]exec.Stats, 2)
	if err := parallel(2, func(i int) (err error) {
		stats[i], err = machines[i].Update(t.Context(), adamW)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for i, m := range machines {
		sameStats(t, stats[i], wantStats)
		for j, p := range m.Params() {
			exectest.Close(t, p.Shard.Param.Name, p.Grad, widen(want.Params()[j].Grad), 1e-5)
		}
	}
	// A gradient that is not finite on one rank stops both.
	machines[1].Params()[0].Grad[0] = float32(math.NaN())
	err := parallel(2, func(i int) error {
		_, err := machines[i].Update(t.Context(), adamW)
		var e *exec.NonFiniteError
		if !errors.As(err, &e) || e.Param != "wte" {
			return errors.Join(errors.New("no NonFiniteError of wte"), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestPipeline cuts a model in two stages that share the embedding's table and
// runs them with three micro-batches in flight, as GPipe does.
func TestPipeline(t *testing.T) {
	z := exectest.Small
	z.B = 6
	whole := trainable(t, exectest.GPT, z)
	data := exectest.Draw(rand.New(rand.NewPCG(3, 3)), whole, z.V)
	want, wantStats := trained(t, whole, data)
	grads := map[string][]float64{}
	for _, p := range want.Params() {
		grads[p.Shard.Param.Name] = widen(p.Grad)
	}

	z.B = 2
	stages := twoStages(t, z)
	ranks := exectest.NewRanks(2)
	const micro = 3
	err := parallel(2, func(i int) error {
		m, err := stageMachine(t, stages[i], ranks.Rank(i), i, micro)
		if err != nil {
			return err
		}
		defer m.Close()
		for _, p := range m.Params() {
			for j, q := range whole.Params {
				if q.Param.Name == p.Shard.Param.Name {
					exectest.SetParams(m, exectest.Values{p.Shard.Node: data[whole.Params[j].Node]})
				}
			}
		}
		for k := range micro {
			for _, in := range stages[i].Inputs {
				for _, from := range whole.Inputs {
					if x := data[from.Node]; from.Name == in.Name {
						if in.PerRow() {
							x = x[k*len(x)/micro : (k+1)*len(x)/micro]
						}
						exectest.SetInput(m, k, in.Name, x)
					}
				}
			}
			if err := m.Forward(t.Context(), exec.MicroBatch{Slot: k, Index: k}); err != nil {
				return err
			}
		}
		for k := range micro {
			if err := m.Backward(t.Context(), exec.MicroBatch{Slot: k, Index: k, Last: k == micro-1}, k == 0); err != nil {
				return err
			}
		}
		stats, err := m.Update(t.Context(), adamW)
		if err != nil {
			return err
		}
		sameStats(t, stats, wantStats)
		for _, p := range m.Params() {
			exectest.Close(t, p.Shard.Param.Name, p.Grad, grads[p.Shard.Param.Name], 1e-5)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func stageMachine(t *testing.T, s *graph.Stage, c exec.Comm, rank, slots int) (*exec.Machine, error) {
	counted := func(p *graph.Shard) bool { return len(p.SumOver) == 0 || rank == 0 }
	p, err := exec.Compile(s, backend(t, 1), exec.Options{Train: true, Slots: slots, Counted: counted})
	if err != nil {
		return nil, err
	}
	return exec.New(p, c)
}

// twoStages cuts a GPT after its first block.
func twoStages(t *testing.T, z exectest.Size) [2]*graph.Stage {
	t.Helper()
	m, err := exectest.GPT(z, true)
	if err != nil {
		t.Fatal(err)
	}
	cut := m.Layers[1].Out
	must := func(n *G.Node, err error) *G.Node {
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	stage := func(root *G.Node, known map[*G.Node]*G.Node) (*graph.Stage, *G.Node) {
		s := &graph.Stage{Graph: G.NewGraph()}
		if known != nil {
			token := must(graph.NewLeaf(s.Graph, "token", graph.Type{Dtype: tensor.Float32}))
			s.Tokens = []*G.Node{token}
			known[cut] = must(graph.Apply(graph.Recv{Peer: 0, Shape: cut.Shape()}, graph.Tag{Layer: 2, Name: "receive"}, token))
		} else {
			known = map[*G.Node]*G.Node{}
		}
		var copyOf func(n *G.Node) *G.Node
		copyOf = func(n *G.Node) *G.Node {
			if c, ok := known[n]; ok {
				return c
			}
			if graph.IsLeaf(n) {
				known[n] = must(graph.NewLeaf(s.Graph, n.Name(), graph.TypeOf(n)))
			} else {
				var in []*G.Node
				for _, c := range graph.Children(n) {
					in = append(in, copyOf(c))
				}
				known[n] = must(graph.Rebuild(n, in...))
			}
			return known[n]
		}
		out := copyOf(root)
		for _, p := range m.Params {
			if n := known[p.Node]; n != nil {
				sh := &graph.Shard{Param: p, Node: n}
				if p.Name == "wte" {
					sh.SumOver = []string{"tied.0"}
				}
				s.Params = append(s.Params, sh)
			}
		}
		for _, in := range m.Inputs {
			if n := known[in.Node]; n != nil {
				s.Inputs = append(s.Inputs, &graph.Input{Name: in.Name, Node: n})
			}
		}
		return s, out
	}
	first, out := stage(cut, nil)
	first.Sends = []*G.Node{must(graph.Apply(graph.Send{Peer: 1}, graph.Tag{Layer: 1, Name: "send"}, out))}
	second, loss := stage(m.Loss, map[*G.Node]*G.Node{})
	second.Loss = loss
	for _, s := range []*graph.Stage{first, second} {
		if err := s.Differentiate(); err != nil {
			t.Fatal(err)
		}
	}
	return [2]*graph.Stage{first, second}
}

// TestShardedParameters trains a weight of which each rank holds a part and
// gathers the rest, as ZeRO-3 does: the gradient of a part is that part of the
// sum over ranks, and two micro-batches give it twice.
func TestShardedParameters(t *testing.T) {
	for dim := range 2 {
		const n, rows, in, out = 2, 3, 4, 6
		r := rand.New(rand.NewPCG(4, 4))
		draw := func(size int) []float64 {
			x := make([]float64, size)
			for i := range x {
				x[i] = r.NormFloat64()
			}
			return x
		}
		weight := draw(in * out)
		x, dy := [n][]float64{draw(rows * in), draw(rows * in)}, [n][]float64{draw(rows * out), draw(rows * out)}
		whole := graph.Operand{Type: graph.Type{Shape: []int{in, out}}, Data: make([]float64, in*out)}
		for rank := range n {
			for i := range rows * in * out {
				row, k, j := i/(in*out), i/out%in, i%out
				whole.Data[k*out+j] += 2 * x[rank][row*in+k] * dy[rank][row*out+j]
			}
		}
		ranks := exectest.NewRanks(n)
		err := parallel(n, func(rank int) error {
			axis := graph.Axis{Name: "dp", Size: n, Rank: rank}
			shape := []int{in, out}
			shape[dim] /= n
			part := func(x []float64) []float64 {
				e := graph.Eval{In: []graph.Operand{{Type: whole.Type, Data: x}}, Out: graph.Operand{Type: graph.Type{Shape: shape}, Data: make([]float64, len(x)/n)}}
				if err := (graph.Slice{Axis: axis, Dim: dim}).Eval(&e); err != nil {
					t.Error(err)
				}
				return e.Out.Data
			}
			b := graph.NewBuilder(tensor.Float32)
			b.Layer("all", "all", "")
			xNode := b.Input("x", tensor.Float32, 1, rows, in)
			w := b.Param("w", graph.Init{}, shape...)
			y := b.Logits(b.Apply("y", graph.Linear{Contract: 1}, xNode, b.Apply("gather", graph.AllGather{Axis: axis, Dim: dim, PartialGrad: true}, w)))
			dyNode := b.Input("dy", tensor.Float32, 1, rows, out)
			model, err := b.Model()
			if err != nil {
				return err
			}
			s := graph.Whole(model)
			grads, err := G.Backpropagate(G.Nodes{y}, G.Nodes{dyNode}, G.Nodes{w})
			if err != nil {
				return err
			}
			s.Params[0].Grad = grads[0]
			m, err := stageMachine(t, s, ranks.Rank(rank), rank, 1)
			if err != nil {
				return err
			}
			defer m.Close()
			values := exectest.Values{w: part(weight), xNode: x[rank], dyNode: dy[rank]}
			exectest.SetParams(m, values)
			exectest.SetInputs(m, 0, values)
			for i := range 2 {
				pass(t, m, exec.MicroBatch{Index: i})
			}
			exectest.Close(t, "gradient", m.Params()[0].Grad, part(whole.Data), 1e-5)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
