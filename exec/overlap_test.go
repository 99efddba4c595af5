package exec_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// TestOverlapBits trains with exchanges beside the computation and in line with
// it: no bit differs.
func TestOverlapBits(t *testing.T) {
	for _, c := range []struct {
		shard bool
		once  graph.Once
	}{{false, graph.OnceNever}, {true, graph.OnceBoth}, {true, graph.OnceForward}, {true, graph.OnceNever}} {
		want := trainZero(t, []int{3}, c.shard, c.once, exec.Overlap)
		got := trainZero(t, []int{3}, c.shard, c.once)
		for step := range zeroSteps {
			if got.stats[step] != want.stats[step] {
				t.Errorf("%+v: step %d: %+v, in line %+v", c, step, got.stats[step], want.stats[step])
			}
		}
		for rank := range got.params {
			for i := range got.params[rank] {
				if !equalBits(got.params[rank][i], want.params[rank][i]) || !equalBits(got.grads[rank][i], want.grads[rank][i]) {
					t.Errorf("%+v: rank %d, parameter %d: bits differ", c, rank, i)
				}
			}
		}
	}
}

func equalBits(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// gate is a Comm of one rank. before is called before each collective.
type gate struct {
	exec.Comm
	before func(ctx context.Context, name string) error
}

func (g gate) AllReduce(ctx context.Context, _, name string, _ []float32) error {
	return g.before(ctx, name)
}

func (g gate) AllGather(ctx context.Context, _, name string, dst, src []float32) error {
	copy(dst, src)
	return g.before(ctx, name)
}

func (g gate) ReduceScatter(ctx context.Context, _, name string, dst, src []float32) error {
	copy(dst, src)
	return g.before(ctx, name)
}

// traced is a back end that tells of the instructions that ran.
type traced struct {
	exec.Backend
	mu   sync.Mutex
	ran  map[string]*event
	name func(exec.Call) string
}

func trace(b exec.Backend, name func(exec.Call) string) *traced {
	return &traced{Backend: b, ran: map[string]*event{}, name: name}
}

// event is that one of the instructions of a name ran.
type event struct {
	sync.Once
	c chan struct{}
}

func (b *traced) event(name string) *event {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ran[name] == nil {
		b.ran[name] = &event{c: make(chan struct{})}
	}
	return b.ran[name]
}

// wait waits until an instruction ran.
func (b *traced) wait(ctx context.Context, name string) error {
	select {
	case <-b.event(name).c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *traced) Lower(c exec.Call) (*exec.Kernel, error) {
	k, err := b.Backend.Lower(c)
	if err != nil || k == nil {
		return k, err
	}
	plain, event := *k, b.event(b.name(c))
	k.Run = func(a *exec.Args) error {
		err := plain.Run(a)
		event.Do(func() { close(event.c) })
		return err
	}
	return k, nil
}

// TestPrefetch has the gather of each block's parameters wait for the
// computation of the layer before it, forward and, where blocks are computed
// again, backward. In line with the computation it would wait forever.
func TestPrefetch(t *testing.T) {
	size := exectest.Small
	size.Layers = 3
	model, err := exectest.GPT(size, true)
	if err != nil {
		t.Fatal(err)
	}
	z, err := newZero(model, axesOf(0, 1), true, graph.OnceNever)
	if err != nil {
		t.Fatal(err)
	}
	s := z.Stage
	if err := s.Rematerialize(s.Checkpointed([]bool{false, true, true, true, false})); err != nil {
		t.Fatal(err)
	}
	b := trace(backend(t, 1), func(c exec.Call) string { return c.Tag.String() })
	before := map[string]string{}
	for layer, next := range map[string]string{"layer 1 h.0.": "layer 2 h.1.", "layer 2 h.1.": "layer 3 h.2."} {
		before[next+"ln_1.weight@dp0 all_gather"] = layer + "ln_1"
	}
	before["layer 1 h.0.ln_1.weight@dp0 (recompute) all_gather"] = "layer 2 h.1.ln_1 (recompute)"
	met := 0
	c := gate{exectest.NewRanks(1).Rank(0), func(ctx context.Context, name string) error {
		for suffix, event := range before {
			if strings.HasPrefix(name, strings.TrimSuffix(suffix, " all_gather")) {
				met++
				return b.wait(ctx, event)
			}
		}
		return nil
	}}
	p := compile(t, s, b, exec.Options{Train: true})
	checkPlan(t, b, p)
	m := machine(t, p, c)
	data := exectest.Draw(rand.New(rand.NewPCG(1, 2)), s, size.V)
	exectest.SetParams(m, data)
	exectest.SetInputs(m, 0, data)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := m.Forward(ctx, exec.MicroBatch{}); err != nil {
		t.Fatal(err)
	}
	if err := m.Backward(ctx, exec.MicroBatch{Last: true}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Update(ctx, adamW); err != nil {
		t.Fatal(err)
	}
	if met < len(before) {
		t.Errorf("%d gathers of %d", met, len(before))
	}
	plain := machine(t, compile(t, z.Stage, backend(t, 1), exec.Options{Train: true, Disable: []exec.Pass{exec.Overlap}}), c)
	for i, p := range z.Params {
		data[p.Node] = data[s.Params[i].Node]
	}
	for i, in := range z.Inputs {
		data[in.Node] = data[s.Inputs[i].Node]
	}
	exectest.SetParams(plain, data)
	exectest.SetInputs(plain, 0, data)
	pass(t, plain, exec.MicroBatch{})
	for i, p := range m.Params() {
		exectest.Close(t, "gradient of "+p.Shard.Param.Name, p.Grad, widen(plain.Params()[i].Grad), 1e-6)
	}
}

// TestGatheredMemory shows that of parameters that are gathered for one layer at
// a time, forward and backward, those of few are there at once.
func TestGatheredMemory(t *testing.T) {
	size := exectest.Size{B: 1, T: 2, C: 64, H: 2, V: 8, Layers: 6}
	model, err := exectest.GPT(size, true)
	if err != nil {
		t.Fatal(err)
	}
	b := backend(t, 1)
	transient := func(shard bool) (bytes, wholes int64) {
		z, err := newZero(model, axesOf(0, 4), shard, graph.OnceNever)
		if err != nil {
			t.Fatal(err)
		}
		if err := z.Rematerialize(z.Checkpointed([]bool{1: true, 2: true, 3: true, 4: true, 5: true, 6: true, 7: false})); err != nil {
			t.Fatal(err)
		}
		p := compile(t, z.Stage, b, exec.Options{Train: true})
		checkPlan(t, b, p)
		m := p.Memory()
		return m[exec.Activations] + m[exec.Workspace], z.wholes
	}
	held, _ := transient(false)
	gathered, wholes := transient(true)
	// Of 6 blocks: two, and the gradient of one.
	if most := wholes * 4 / 6; gathered-held > most {
		t.Errorf("gathered parameters take %d bytes, of %d in all; should be at most %d", gathered-held, wholes, most)
	}
}

// twoProducts is y = x w0 w1 with weights of a bucket each, whose gradients are
// summed over dp.
func twoProducts(t *testing.T, once graph.Once) *graph.Stage {
	t.Helper()
	const n = 1024
	b := graph.NewBuilder(tensor.Float32)
	b.Layer("all", "all", "")
	x := b.Input("x", tensor.Float32, 1, 1, n)
	weights := G.Nodes{b.Param("w0", graph.Init{}, n, n), b.Param("w1", graph.Init{}, n, n)}
	y := x
	for i, w := range weights {
		used := w
		if once != graph.OnceNever {
			var err error
			tag := graph.Tag{Name: "gather " + w.Name(), Once: once}
			if used, err = graph.Apply(graph.AllGather{Axis: graph.Axis{Name: "dp", Size: 1}, PartialGrad: true}, tag, w); err != nil {
				t.Fatal(err)
			}
		}
		y = b.Apply([]string{"y0", "y1"}[i], graph.Linear{Contract: 1}, y, used)
	}
	b.Logits(y)
	dy := b.Input("dy", tensor.Float32, 1, 1, n)
	model, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	s := graph.Whole(model)
	grads, err := G.Backpropagate(G.Nodes{y}, G.Nodes{dy}, weights)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range s.Params {
		p.Grad = grads[i]
		if once == graph.OnceNever {
			p.SumOver = []string{"dp"}
		}
	}
	return s
}

// TestEarlySums has the sum of the last weight's gradient over ranks, and its
// reduce-scatter in ZeRO-1, wait for the computation of the first weight's.
func TestEarlySums(t *testing.T) {
	for once, summed := range map[graph.Once]string{graph.OnceNever: "gradients from w1 on", graph.OnceBoth: "layer 0 gather w1 (backward) reduce_scatter"} {
		b := trace(backend(t, 1), func(c exec.Call) string { return c.Tag.Name + " " + c.Spec.Kind() })
		met := false
		c := gate{exectest.NewRanks(1).Rank(0), func(ctx context.Context, name string) error {
			if name == summed {
				met = true
				return b.wait(ctx, "y0 linear_weight_grad")
			}
			return nil
		}}
		p := compile(t, twoProducts(t, once), b, exec.Options{Train: true})
		checkPlan(t, b, p)
		m := machine(t, p, c)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := m.Forward(ctx, exec.MicroBatch{})
		if err == nil {
			err = m.Backward(ctx, exec.MicroBatch{Last: true}, true)
		}
		if err != nil {
			t.Fatal(err)
		}
		if m.Forward(ctx, exec.MicroBatch{}) == nil || m.Backward(ctx, exec.MicroBatch{}, false) == nil {
			t.Error("a pass between the last one and the update runs")
		}
		if _, err := m.Update(ctx, adamW); err != nil || !met {
			t.Errorf("once %d: error %v, summed early: %v", once, err, met)
		}
	}
}

// TestTiedSums sums a gradient over ranks that run the same stage early, over
// those that run another in the update only.
func TestTiedSums(t *testing.T) {
	s := twoProducts(t, graph.OnceNever)
	for _, p := range s.Params {
		p.SumOver = []string{"dp", graph.TiedGroup(0)}
	}
	order := make(chan string, 10)
	m := machine(t, compile(t, s, backend(t, 1), exec.Options{Train: true}), groups{order: order})
	if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil {
		t.Fatal(err)
	}
	if err := m.Backward(t.Context(), exec.MicroBatch{Last: true}, true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if group := <-order; group != "dp" {
			t.Errorf("summed over %s before the update", group)
		}
	}
	if len(order) > 0 {
		t.Errorf("summed over %s before the update", <-order)
	}
	if _, err := m.Update(t.Context(), adamW); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"tied.0", "tied.0", exec.GroupWorld} {
		if group := <-order; group != want {
			t.Errorf("summed over %s in the update, want %s", group, want)
		}
	}
}

// groups tells over which groups is summed.
type groups struct {
	exec.Comm
	order chan string
}

func (g groups) AllReduce(_ context.Context, group, _ string, _ []float32) error {
	g.order <- group
	return nil
}

// TestExchangeErrors has exchanges fail that run beside the computation: the
// error tells which, and the machine can be used afterwards.
func TestExchangeErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct{ fails, tag string }{
		{"layer 0 gather w0 all_gather", "gather w0"},
		{"layer 0 gather w1 all_gather", "gather w1"},
		{"layer 0 gather w1 (backward) reduce_scatter", "gather w1"},
		{"gradients from w1 on", "gradients from w1 on"},
	} {
		once := graph.OnceBoth
		if strings.HasPrefix(c.fails, "gradients") {
			once = graph.OnceNever
		}
		fail := true
		comm := gate{exectest.NewRanks(1).Rank(0), func(_ context.Context, name string) error {
			if fail && name == c.fails {
				return broken
			}
			return nil
		}}
		m := machine(t, compile(t, twoProducts(t, once), backend(t, 1), exec.Options{Train: true}), comm)
		step := func() error {
			err := m.Forward(t.Context(), exec.MicroBatch{Step: 7})
			if err == nil {
				err = m.Backward(t.Context(), exec.MicroBatch{Step: 7, Last: true}, true)
			}
			if err == nil {
				_, err = m.Update(t.Context(), adamW)
			}
			return err
		}
		var e *exec.RunError
		if err := step(); !errors.Is(err, broken) || !errors.As(err, &e) || e.Tag.Name != c.tag || e.Step != 7 {
			t.Errorf("%s: error %v", c.fails, err)
		}
		fail = false
		if err := step(); err != nil {
			t.Errorf("after %s failed: %v", c.fails, err)
		}
	}
}

// TestExchangeEnds ends exchanges that wait for a rank that does not come: by
// their context, that of the update alone, and by Close.
func TestExchangeEnds(t *testing.T) {
	m := machine(t, compile(t, twoProducts(t, graph.OnceForward), backend(t, 1), exec.Options{Train: true}), exectest.NewRanks(2).Rank(0))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var e *exec.RunError
	if err := m.Forward(ctx, exec.MicroBatch{}); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || e.Tag.Name != "gather w0" {
		t.Errorf("error %v", err)
	}

	for range 2 {
		m = machine(t, compile(t, twoProducts(t, graph.OnceNever), backend(t, 1), exec.Options{Train: true}), exectest.NewRanks(2).Rank(0))
		if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil {
			t.Fatal(err)
		}
		if err := m.Backward(t.Context(), exec.MicroBatch{Last: true}, true); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := m.Update(ctx, adamW); !errors.As(err, &e) || e.Tag.Name != "gradients from w1 on" {
		t.Errorf("error %v", err)
	}
}

// TestOverlapNoAllocation shows that exchanges beside the computation allocate
// nothing.
func TestOverlapNoAllocation(t *testing.T) {
	for _, once := range []graph.Once{graph.OnceNever, graph.OnceForward, graph.OnceBoth} {
		c := gate{exectest.NewRanks(1).Rank(0), func(context.Context, string) error { return nil }}
		m := machine(t, compile(t, twoProducts(t, once), backend(t, 1), exec.Options{Train: true}), c)
		m.Profile(true)
		ctx := t.Context()
		n := testing.AllocsPerRun(3, func() {
			err := errors.Join(m.Forward(ctx, exec.MicroBatch{}), m.Backward(ctx, exec.MicroBatch{Last: true}, true))
			if err == nil {
				_, err = m.Update(ctx, adamW)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("once %d: a step allocates %v times", once, n)
		}
		if w := m.Waited(); w.Collectives <= 0 || w.Total() != w.Collectives || w.Across <= 0 {
			t.Errorf("once %d: waited %+v", once, w)
		}
	}
}

func (g gate) Rotate(ctx context.Context, _, name string, dst, src []float32, _ int) error {
	copy(dst, src)
	return g.before(ctx, name)
}

// TestRotateEarly has each rotation of keys and values wait for the block of
// attention that comes before the one it is for, and each rotation of their
// gradients for the block whose gradients are added to them.
func TestRotateEarly(t *testing.T) {
	b := graph.NewBuilder(tensor.Float32)
	b.Layer("all", "all", "")
	qkv := b.Param("qkv", graph.Init{}, 1, 4, 3, 2, 4)
	dy := b.Input("dy", tensor.Float32, 1, 4, 2, 4)
	ring := graph.RingAttention{Attention: graph.Attention{Packed: true}, Axis: graph.Axis{Name: "cp", Size: 4, Rank: 1}}
	y, err := ring.Apply(graph.Tag{Name: "ring"}, qkv)
	if err != nil {
		t.Fatal(err)
	}
	b.Logits(y)
	model, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	s := graph.Whole(model)
	grads, err := G.Backpropagate(G.Nodes{y}, G.Nodes{dy}, G.Nodes{qkv})
	if err != nil {
		t.Fatal(err)
	}
	s.Params[0].Grad = grads[0]
	back := trace(backend(t, 1), func(c exec.Call) string { return c.Tag.Name })
	before := map[string]string{}
	for pass, suffix := range map[string]string{"ring.": "", "ring.grad.": " (backward)"} {
		for step, block := range []string{"block.0", "block.1", "block.2"} {
			before[fmt.Sprintf("layer 0 %skv.%d%s rotate", pass, step+1, suffix)] = pass + block
		}
	}
	for step := 1; step <= 3; step++ {
		before[fmt.Sprintf("layer 0 ring.grad.dkv.%d (backward) rotate", step)] = fmt.Sprintf("ring.grad.block.%d", step)
	}
	met := 0
	p := compile(t, s, back, exec.Options{Train: true})
	checkPlan(t, back, p)
	m := machine(t, p, gate{exectest.NewRanks(1).Rank(0), func(ctx context.Context, name string) error {
		if event := before[name]; event != "" {
			met++
			return back.wait(ctx, event)
		}
		return nil
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := m.Forward(ctx, exec.MicroBatch{}); err != nil {
		t.Fatal(err)
	}
	if err := m.Backward(ctx, exec.MicroBatch{Last: true}, true); err != nil {
		t.Fatal(err)
	}
	if met != len(before) {
		t.Errorf("%d rotations of %d", met, len(before))
	}
}
