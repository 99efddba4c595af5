package exec_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"pgregory.net/rapid"
)

// TestNarrowKeepsBits stores in bf16 what products would round anyway, or does
// not: losses, norms, gradients and parameters are the same, with every
// instruction set and beside other passes.
func TestNarrowKeepsBits(t *testing.T) {
	defer kernel.SetISA(kernel.ActiveISA())
	b := backend(t, 2)
	for _, isa := range kernel.ISAs() {
		if err := kernel.SetISA(isa); err != nil {
			t.Fatal(err)
		}
		for _, model := range models {
			for _, z := range []exectest.Size{
				{B: 2, T: 3, C: 15, H: 3, V: 31, Layers: 1},
				{B: 3, T: 7, C: 24, H: 3, V: 31, Layers: 2, Dropout: 0.2},
			} {
				want := steps(t, b, model.build, z, exec.Options{Train: true, Slots: 2, Precision: exec.BF16, Disable: []exec.Pass{exec.Narrow}})
				for _, o := range []exec.Options{
					{},
					{Disable: []exec.Pass{exec.Epilogue, exec.InPlace}},
					{Enable: []exec.Pass{exec.Recompute}},
				} {
					o.Train, o.Slots, o.Precision = true, 2, exec.BF16
					got := steps(t, b, model.build, z, o)
					if !slices.Equal(got.stats, want.stats) {
						t.Errorf("%s, %s, %+v: stats %v, want %v", isa, model.name, o, got.stats, want.stats)
					}
					for i := range want.tensors {
						if !slices.Equal(got.tensors[i], want.tensors[i]) {
							t.Errorf("%s, %s, %+v: gradient or parameter %d differs", isa, model.name, o, i)
						}
					}
				}
			}
		}
	}
}

// TestNarrowRandom does the same with random graphs.
func TestNarrowRandom(t *testing.T) {
	b := backend(t, 2)
	rapid.Check(t, func(t *rapid.T) {
		s, data, _ := randomStage(t)
		run := func(disable ...exec.Pass) (results [][]float32) {
			p, err := exec.Compile(s, b, exec.Options{Train: true, Precision: exec.BF16, Disable: disable})
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, b, p)
			m, err := exec.New(p, exectest.NewRanks(1).Rank(0))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			exectest.SetParams(m, data)
			exectest.SetInputs(m, 0, data)
			if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil {
				t.Fatal(err)
			}
			results = append(results, slices.Clone(m.Logits(0)))
			if err := m.Backward(t.Context(), exec.MicroBatch{}, true); err != nil {
				t.Fatal(err)
			}
			for _, p := range m.Params() {
				results = append(results, slices.Clone(p.Grad))
			}
			return results
		}
		got, want := run(), run(exec.Narrow)
		for i := range want {
			if !slices.Equal(got[i], want[i]) {
				t.Fatalf("result %d: %v, want %v", i, got[i], want[i])
			}
		}
	})
}

// TestNarrowed wants the results of GPT's norms and activations in bf16, what
// is for other readers in float32, and the memory that this saves.
func TestNarrowed(t *testing.T) {
	b := backend(t, 1)
	z := exectest.Size{B: 2, T: 8, C: 48, H: 3, V: 31, Layers: 4}
	s := trainable(t, exectest.GPT, z)
	o := exec.Options{Train: true, Slots: 3, Precision: exec.BF16}
	narrow := compile(t, s, b, o)
	for line := range strings.Lines(narrow.Describe()) {
		results, _, instruction := strings.Cut(line, " =")
		if !instruction {
			continue
		}
		kind := strings.Fields(line)[1]
		stored := kind == "layer_norm" || kind == "linear+activation"
		if got := strings.Count(results, "bf16["); stored != (got == 1) || got > 1 {
			t.Errorf("%d results in bf16: %s", got, line)
		}
	}
	o.Disable = []exec.Pass{exec.Narrow}
	wide := compile(t, s, b, o)
	// A layer keeps 16 values [B, T, C] with 4 norms and activations' worth 6, of
	// which half is saved, and so the last norm's.
	values := int64(z.B * z.T * z.C * 4)
	want := 3 * (6*int64(z.Layers) + 1) * values / 2
	if saved := wide.Memory()[exec.Activations] - narrow.Memory()[exec.Activations]; saved != want {
		t.Errorf("%d bytes saved, want %d", saved, want)
	}
	if strings.Contains(wide.Describe(), "bf16") {
		t.Error("values in bf16 without the pass")
	}
	o.Precision, o.Disable = exec.FP32, nil
	if strings.Contains(compile(t, s, b, o).Describe(), "bf16") {
		t.Error("values in bf16 in fp32")
	}
}

// TestNarrowLends evaluates in bf16 with the parameters of a machine that
// trains so: both see the same bits.
func TestNarrowLends(t *testing.T) {
	b := backend(t, 1)
	z := exectest.Size{B: 2, T: 5, C: 24, H: 3, V: 31, Layers: 2}
	s := trainable(t, exectest.GPT, z)
	data := exectest.Draw(rand.New(rand.NewPCG(3, 4)), s, z.V)
	owner := machine(t, compile(t, s, b, exec.Options{Train: true, Precision: exec.BF16}), nil)
	exectest.SetParams(owner, data)
	p := compile(t, s, b, exec.Options{Borrow: true, Precision: exec.BF16})
	m, err := exec.Borrow(p, nil, owner)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, m := range []*exec.Machine{owner, m} {
		exectest.SetInputs(m, 0, data)
		if err := m.Forward(t.Context(), exec.MicroBatch{}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(owner.Logits(0), m.Logits(0)) || owner.Loss(0) != m.Loss(0) {
		t.Errorf("losses %g and %g", owner.Loss(0), m.Loss(0))
	}
}
