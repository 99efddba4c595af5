package exec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	"pgregory.net/rapid"
)

// TestLayersAddUp holds the figures of random models to the memory plan, and to
// lives worked out anew: what is kept exactly, what passes at every instruction.
func TestLayersAddUp(t *testing.T) {
	b := backend(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		heads := rapid.IntRange(1, 3).Draw(t, "heads")
		z := exectest.Size{
			B: rapid.IntRange(1, 3).Draw(t, "B"), T: rapid.IntRange(1, 9).Draw(t, "T"),
			H: heads, C: heads * rapid.IntRange(1, 12).Draw(t, "D"), V: rapid.IntRange(2, 200).Draw(t, "V"),
			Layers: rapid.IntRange(0, 3).Draw(t, "layers"), Dropout: rapid.SampledFrom([]float64{0, 0.1}).Draw(t, "dropout"),
		}
		o := exec.Options{Train: true, Slots: rapid.IntRange(1, 3).Draw(t, "slots")}
		if rapid.Bool().Draw(t, "bf16") {
			o.Precision = exec.BF16
		}
		o.Enable = rapid.SampledFrom([][]exec.Pass{nil, {exec.Recompute}, {exec.Pack}}).Draw(t, "enable")
		model, err := rapid.SampledFrom(models).Draw(t, "model").build(z, true)
		if err != nil {
			t.Fatal(err)
		}
		s := graph.Whole(model)
		if err := s.Differentiate(); err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "checkpoint") {
			if err := s.Rematerialize(s.Checkpointed(checkpointed(z.Layers, true))); err != nil {
				t.Fatal(err)
			}
		}
		p, err := exec.Compile(s, b, o)
		if err != nil {
			t.Fatal(err)
		}
		checkLayers(t, p, o.Slots)
	})
}

func checkLayers(t *rapid.T, p *exec.Program, slots int) {
	m := p.Memory()
	var kept, params, most int64
	var ops, instructions, staging int
	for _, l := range p.Layers() {
		kept += l.States + int64(slots)*l.Saved
		params += l.Params
		most, staging = max(most, l.Peak), staging+len(l.Staging)
		instructions += len(l.Alive)
		for _, o := range l.Ops {
			ops += o.Count
		}
	}
	if want := m[exec.Parameters] + m[exec.Gradients] + m[exec.OptimizerState] + m[exec.Activations]; kept != want {
		t.Fatalf("the layers keep %d bytes, the plan %d", kept, want)
	}
	var want int64
	for _, s := range p.Stage().Params {
		want += int64(s.Param.Size())
	}
	if params != want {
		t.Fatalf("%d parameters, want %d", params, want)
	}
	if got := peakOf(p); got != most {
		t.Fatalf("at most %d bytes are alive, the layers say %d", got, most)
	}
	if forward, backward := p.Instructions(); ops != forward+backward || ops != instructions || staging != 0 {
		t.Fatalf("%d operations at %d instructions, want %d; staging %d", ops, instructions, forward+backward, staging)
	}
}

// peakOf is the most that is alive beside what is kept.
func peakOf(p *exec.Program) int64 {
	alive := map[int]int64{}
	for _, s := range p.Spans() {
		if s.Pinned || s.Kept {
			continue
		}
		for pos := s.First; pos <= s.Last; pos++ {
			alive[pos] += 4 * int64((s.To-s.From+15)/16*16)
		}
	}
	var most int64
	for _, n := range alive {
		most = max(most, n)
	}
	return most
}

// TestOpFigures counts the products of a block, forward, backward and again, and
// what is read of tables.
func TestOpFigures(t *testing.T) {
	b := backend(t, 1)
	z := exectest.Size{B: 2, T: 16, C: 32, H: 2, V: 64, Layers: 3}
	s := trainable(t, exectest.GPT, z)
	p := compile(t, rematerialize(t, s, s.Checkpointed(checkpointed(z.Layers, true))), b, exec.Options{Train: true})
	layers := p.Layers()
	products := map[string]int64{}
	for _, o := range layers[2].Ops {
		if strings.HasPrefix(o.Kind, "linear") {
			products[fmt.Sprint(o.Pass == graph.Backward, o.Again)] += o.FLOPs
		}
		if o.Once {
			t.Errorf("%+v: nothing runs once a step", o)
		}
	}
	once := int64(2 * z.B * z.T * 12 * z.C * z.C)
	last := int64(2 * z.B * z.T * 4 * z.C * z.C) // whose result nothing reads again
	for key, want := range map[string]int64{"false false": once, "true true": once - last, "true false": 2 * once} {
		if products[key] != want {
			t.Errorf("backward, again %s: products of %d FLOPs, want %d", key, products[key], want)
		}
	}
	rows := int64(4 * z.B * z.T * z.C) // of the table, and of the result
	if o := layers[0].Ops[0]; o.Kind != "embedding" || o.Bytes != 2*rows+int64(4*z.B*z.T) || o.Count != 1 {
		t.Errorf("%+v", o)
	}
}
