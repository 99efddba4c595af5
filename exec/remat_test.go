package exec_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
)

// checkpointed marks the layers of a model of that many blocks: all blocks, or
// those with an odd index. The embedding and the head are not.
func checkpointed(blocks int, all bool) []bool {
	layers := make([]bool, blocks+2)
	for i := range blocks {
		layers[1+i] = all || i%2 == 1
	}
	return layers
}

func rematerialize(t testing.TB, s *graph.Stage, again func(n *G.Node) bool) *graph.Stage {
	t.Helper()
	if err := s.Rematerialize(again); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRematerializeKeepsBits trains with all that the backward pass reads kept,
// and with parts of it computed again: whole layers, or operations at random.
// All gradients and parameters are the same.
func TestRematerializeKeepsBits(t *testing.T) {
	b := backend(t, 2)
	z := exectest.Size{B: 2, T: 7, C: 24, H: 3, V: 31, Layers: 3, Dropout: 0.2}
	for _, model := range models {
		want := stepsOf(t, trainable(t, model.build, z), z, b, exec.Options{Train: true, Slots: 2})
		check := func(t *testing.T, again func(*graph.Stage) func(*G.Node) bool, o exec.Options) {
			s := trainable(t, model.build, z)
			got := stepsOf(t, rematerialize(t, s, again(s)), z, b, o)
			if !slices.Equal(want.stats, got.stats) {
				t.Errorf("stats %v, want %v", got.stats, want.stats)
			}
			for i := range want.tensors {
				if !slices.Equal(want.tensors[i], got.tensors[i]) {
					t.Errorf("gradient or parameter %d differs", i)
				}
			}
			if got.instructions <= want.instructions {
				t.Errorf("%d instructions, without recomputation %d", got.instructions, want.instructions)
			}
		}
		for _, o := range []exec.Options{{Train: true, Slots: 2}, {Train: true, Slots: 2, Disable: []exec.Pass{exec.Epilogue}}} {
			for _, all := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/all=%v/disable=%v", model.name, all, o.Disable), func(t *testing.T) {
					check(t, func(s *graph.Stage) func(*G.Node) bool { return s.Checkpointed(checkpointed(z.Layers, all)) }, o)
				})
			}
			for seed := range uint64(4) {
				t.Run(fmt.Sprintf("%s/random=%d/disable=%v", model.name, seed, o.Disable), func(t *testing.T) {
					check(t, func(*graph.Stage) func(*G.Node) bool { return atRandom(seed) }, o)
				})
			}
		}
	}
}

// atRandom is true of about half of all nodes.
func atRandom(seed uint64) func(*G.Node) bool {
	r, drawn := rand.New(rand.NewPCG(seed, 1)), map[*G.Node]bool{}
	return func(n *G.Node) bool {
		if _, ok := drawn[n]; !ok {
			drawn[n] = r.IntN(2) == 0
		}
		return drawn[n]
	}
}

// TestRematerializeTwice checkpoints layers, then computes again some of what
// these and the others read.
func TestRematerializeTwice(t *testing.T) {
	b := backend(t, 1)
	z := exectest.Size{B: 2, T: 7, C: 24, H: 3, V: 31, Layers: 3, Dropout: 0.2}
	want := stepsOf(t, trainable(t, exectest.GPT, z), z, b, exec.Options{Train: true, Slots: 2})
	s := trainable(t, exectest.GPT, z)
	rematerialize(t, s, s.Checkpointed(checkpointed(z.Layers, false)))
	got := stepsOf(t, rematerialize(t, s, atRandom(9)), z, b, exec.Options{Train: true, Slots: 2})
	for i := range want.tensors {
		if !slices.Equal(want.tensors[i], got.tensors[i]) {
			t.Errorf("gradient or parameter %d differs", i)
		}
	}
}

// transient is what a program takes for activations and within passes.
func transient(t testing.TB, b exec.Backend, s *graph.Stage, slots int) int64 {
	t.Helper()
	p := compile(t, s, b, exec.Options{Train: true, Slots: slots})
	checkPlan(t, b, p)
	m := p.Memory()
	return m[exec.Activations] + m[exec.Workspace] - b.Overhead()
}

// TestCheckpointingMemory shows that of checkpointed layers a plan has what
// enters each and, once, the activations of about one layer. BERT's layers end
// with a norm, whose statistics stay with its result.
func TestCheckpointingMemory(t *testing.T) {
	b := backend(t, 1)
	const B, T, C = 2, 16, 32
	for i, model := range models {
		border := int64(4 * (B*T*C + i*2*B*T))
		memory := func(blocks int, layers []bool) int64 {
			s := trainable(t, model.build, exectest.Size{B: B, T: T, C: C, H: 2, V: 8, Layers: blocks})
			return transient(t, b, rematerialize(t, s, s.Checkpointed(layers)), 1)
		}
		one, six, ten := memory(1, nil), memory(6, nil), memory(10, nil)
		layer := (ten - six) / 4
		six, ten = memory(6, checkpointed(6, true)), memory(10, checkpointed(10, true))
		if got := (ten - six) / 4; got != border {
			t.Errorf("%s: a checkpointed layer adds %d bytes, its border has %d", model.name, got, border)
		}
		if most := one + 6*border; six > most {
			t.Errorf("%s: 6 checkpointed layers take %d bytes, one layer and 6 borders %d", model.name, six, most)
		}
		six, ten = memory(6, checkpointed(6, false)), memory(10, checkpointed(10, false))
		if got := (ten - six) / 2; got != border+layer {
			t.Errorf("%s: a layer of each kind adds %d bytes, want %d and %d", model.name, got, border, layer)
		}
	}
}

// TestCheckpointedPipeline computes again the layers of both stages of a
// pipeline: what was received stays, and the gradients' bits too.
func TestCheckpointedPipeline(t *testing.T) {
	z := exectest.Small
	z.Dropout = 0.1
	run := func(checkpoint bool) (tensors [][]float32) {
		stages := twoStages(t, z)
		ranks, all := exectest.NewRanks(2), make([][][]float32, 2)
		err := parallel(2, func(i int) error {
			s := stages[i]
			if checkpoint {
				if err := s.Rematerialize(s.Checkpointed([]bool{true, true, true, true})); err != nil {
					return err
				}
			}
			m, err := stageMachine(t, s, ranks.Rank(i), i, 1)
			if err != nil {
				return err
			}
			defer m.Close()
			data := exectest.Draw(rand.New(rand.NewPCG(5, 5)), s, z.V)
			exectest.SetParams(m, data)
			exectest.SetInputs(m, 0, data)
			pass(t, m, exec.MicroBatch{})
			for _, p := range m.Params() {
				all[i] = append(all[i], slices.Clone(p.Grad))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(all...)
	}
	want, got := run(false), run(true)
	for i := range want {
		if !slices.Equal(want[i], got[i]) {
			t.Errorf("gradient %d differs", i)
		}
	}
}

// TestParameterGathers trains a model whose parameters are sharded over two
// ranks. Gathered again for the backward pass, none lives past the forward
// pass, with checkpointed layers and without; gradients keep their bits.
func TestParameterGathers(t *testing.T) {
	z := exectest.Size{B: 2, T: 5, C: 24, H: 2, V: 32, Layers: 3, Dropout: 0.1}
	run := func(again func(*graph.Stage) func(*G.Node) bool) (tensors [][]float32, kept int, memory int64) {
		const n = 2
		ranks, all := exectest.NewRanks(n), make([][][]float32, n)
		err := parallel(n, func(i int) error {
			s, err := sharded(z, graph.Axis{Name: "dp", Size: n, Rank: i})
			if err != nil {
				return err
			}
			if err := s.Rematerialize(again(s)); err != nil {
				return err
			}
			m, err := stageMachine(t, s, ranks.Rank(i), i, 1)
			if err != nil {
				return err
			}
			defer m.Close()
			data := exectest.Draw(rand.New(rand.NewPCG(uint64(i), 6)), s, z.V)
			exectest.SetParams(m, data)
			exectest.SetInputs(m, 0, data)
			pass(t, m, exec.MicroBatch{})
			for _, p := range m.Params() {
				all[i] = append(all[i], slices.Clone(p.Grad))
			}
			if i > 0 {
				return nil
			}
			for _, span := range m.Program().Spans() {
				if span.Kept && strings.HasSuffix(span.Name, "@dp") {
					kept++
				}
			}
			mem := m.Program().Memory()
			memory = mem[exec.Activations] + mem[exec.Workspace]
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(all...), kept, memory
	}
	want, kept, plain := run(func(*graph.Stage) func(*G.Node) bool { return func(*G.Node) bool { return false } })
	if kept == 0 {
		t.Error("no gathered parameter is kept without recomputation: the test tests nothing")
	}
	for name, again := range map[string]func(*graph.Stage) func(*G.Node) bool{
		"gathers": func(*graph.Stage) func(*G.Node) bool { return graph.ParameterGather },
		"gathers and layers": func(s *graph.Stage) func(*G.Node) bool {
			layers := s.Checkpointed(checkpointed(z.Layers, true))
			return func(n *G.Node) bool { return layers(n) || graph.ParameterGather(n) }
		},
	} {
		got, kept, memory := run(again)
		if kept > 0 {
			t.Errorf("%s: %d gathered parameters are kept from pass to pass", name, kept)
		}
		if memory >= plain {
			t.Errorf("%s: %d bytes, without recomputation %d", name, memory, plain)
		}
		for i := range want {
			if !slices.Equal(want[i], got[i]) {
				t.Errorf("%s: gradient %d differs", name, i)
			}
		}
	}
}

// TestRematerializeOrder shows that two ranks, and a model built again, run the
// same instructions in the same order, collectives that run again among them.
func TestRematerializeOrder(t *testing.T) {
	b := backend(t, 1)
	z := exectest.Size{B: 2, T: 5, C: 24, H: 2, V: 32, Layers: 3, Dropout: 0.1}
	var listings []string
	for _, rank := range []int{0, 1, 0} {
		s, err := sharded(z, graph.Axis{Name: "dp", Size: 2, Rank: rank})
		if err != nil {
			t.Fatal(err)
		}
		layers := s.Checkpointed(checkpointed(z.Layers, false))
		rematerialize(t, s, func(n *G.Node) bool { return layers(n) || graph.ParameterGather(n) })
		listings = append(listings, compile(t, s, b, exec.Options{Train: true, Enable: []exec.Pass{exec.Recompute}}).Describe())
	}
	if listings[0] != listings[1] || listings[0] != listings[2] {
		t.Error("the order differs")
	}
}

// sharded is a differentiated GPT whose parameters are held in parts along
// their first dimension, where that divides, and gathered where they are used.
func sharded(z exectest.Size, axis graph.Axis) (*graph.Stage, error) {
	m, err := exectest.GPT(z, true)
	if err != nil {
		return nil, err
	}
	s := &graph.Stage{Graph: G.NewGraph()}
	known := map[*G.Node]*G.Node{}
	for _, n := range graph.Order(m.Loss) {
		if err != nil {
			return nil, err
		}
		if !graph.IsLeaf(n) {
			var in []*G.Node
			for _, c := range graph.Children(n) {
				in = append(in, known[c])
			}
			known[n], err = graph.Rebuild(n, in...)
			continue
		}
		typ := graph.TypeOf(n)
		i := slices.IndexFunc(m.Params, func(p *graph.Param) bool { return p.Node == n })
		parts := i >= 0 && typ.Shape[0]%axis.Size == 0
		if parts {
			typ.Shape = slices.Clone(typ.Shape)
			typ.Shape[0] /= axis.Size
		}
		if known[n], err = graph.NewLeaf(s.Graph, n.Name(), typ); err != nil {
			return nil, err
		}
		if i < 0 {
			s.Inputs = append(s.Inputs, &graph.Input{Name: n.Name(), Node: known[n]})
			continue
		}
		s.Params = append(s.Params, &graph.Shard{Param: m.Params[i], Node: known[n]})
		if !parts {
			continue
		}
		tag := graph.Tag{Layer: m.Params[i].Layer, Name: n.Name() + "@dp"}
		known[n], err = graph.Apply(graph.AllGather{Axis: axis, PartialGrad: true}, tag, known[n])
	}
	s.Loss = known[m.Loss]
	if err != nil {
		return nil, err
	}
	return s, s.Differentiate()
}

// TestRecomputePass shows that the pass saves activations and norms, changes
// no bit, and leaves the stage and checkpointed layers alone.
func TestRecomputePass(t *testing.T) {
	b := backend(t, 2)
	z := exectest.Size{B: 2, T: 16, C: 32, H: 2, V: 8, Layers: 6, Dropout: 0.2}
	usual := exec.Options{Train: true, Slots: 2}
	again := exec.Options{Train: true, Slots: 2, Enable: []exec.Pass{exec.Recompute}}
	for _, model := range models {
		s := trainable(t, model.build, z)
		want, got := stepsOf(t, s, z, b, usual), stepsOf(t, s, z, b, again)
		for i := range want.tensors {
			if !slices.Equal(want.tensors[i], got.tensors[i]) {
				t.Errorf("%s: gradient or parameter %d differs", model.name, i)
			}
		}
		if afterwards := stepsOf(t, s, z, b, usual); afterwards.instructions != want.instructions {
			t.Errorf("%s: %d instructions, %d before the stage was compiled with the pass", model.name, afterwards.instructions, want.instructions)
		}
		// Of 16 units a block of GPT keeps, norms and GELU are 6; of 17 a block of BERT, whose
		// residuals stay instead of its norms, also 6.
		plain, less := compile(t, s, b, usual).Memory()[exec.Activations], compile(t, s, b, again).Memory()[exec.Activations]
		if saved, want := plain-less, int64(4*2*6*z.Layers*z.B*z.T*z.C); saved < want*9/10 {
			t.Errorf("%s: activations take %d bytes, %d less than without the pass, want %d less", model.name, less, saved, want)
		}
		checkpointed := rematerialize(t, s, s.Checkpointed(checkpointed(z.Layers, true)))
		plain, less = compile(t, checkpointed, b, usual).Memory()[exec.Activations], compile(t, checkpointed, b, again).Memory()[exec.Activations]
		if less > plain {
			t.Errorf("%s: checkpointed layers take %d bytes, with the pass %d", model.name, plain, less)
		}
	}
}

// TestNoPasses trains with all passes turned off.
func TestNoPasses(t *testing.T) {
	b := backend(t, 2)
	z := exectest.Size{B: 2, T: 7, C: 24, H: 3, V: 31, Layers: 2, Dropout: 0.2}
	for _, model := range models {
		s := trainable(t, model.build, z)
		usual, none := exec.Options{Train: true, Slots: 2}, exec.Options{Train: true, Slots: 2, Disable: exec.Passes()}
		want, got := stepsOf(t, s, z, b, usual), stepsOf(t, s, z, b, none)
		for i := range want.tensors {
			if !slices.Equal(want.tensors[i], got.tensors[i]) {
				t.Errorf("%s: gradient or parameter %d differs", model.name, i)
			}
		}
		if with, without := compile(t, s, b, usual).Memory().Total(), compile(t, s, b, none).Memory().Total(); with >= without {
			t.Errorf("%s: %d bytes with the passes, %d without", model.name, with, without)
		}
	}
}
