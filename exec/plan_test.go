package exec_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite golden files")

// checkPlan works out anew when and where everything in the arena is alive,
// and fails where two such things meet.
func checkPlan(t rapid.TB, b exec.Backend, p *exec.Program) {
	t.Helper()
	m, err := exec.New(p, exectest.NewRanks(1).Rank(0))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if planned, got := p.Memory().Total()-b.Overhead(), 4*int64(len(m.Arena())); planned != got {
		t.Fatalf("planned %d bytes, the arena has %d", planned, got)
	}
	from, to := p.SlotRange()
	spans := p.Spans()
	for i, a := range spans {
		if a.From%16 != 0 || a.To > len(m.Arena()) {
			t.Fatalf("%+v does not lie in the arena of %d elements at a multiple of 16", a, len(m.Arena()))
		}
		if a.Kept && a.Region != "slot" && !a.Pinned {
			t.Fatalf("%+v is kept between the passes where other slots overwrite it", a)
		}
		if a.Region == "slot" && (a.From < from || a.To > to) {
			t.Fatalf("%+v lies outside the slots, %d to %d", a, from, to)
		}
		for _, b := range spans[:i] {
			together := a.Pinned || b.Pinned || a.First <= b.Last && b.First <= a.Last
			if a.Region == "stage" && b.Region == "stage" {
				together = a.First <= b.Last && b.First <= a.Last
			}
			if together && a.From < b.To && b.From < a.To {
				t.Fatalf("%+v and %+v overlap", a, b)
			}
		}
	}
}

// TestPlan checks the plans of models of random sizes.
func TestPlan(t *testing.T) {
	b := backend(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		heads := rapid.IntRange(1, 3).Draw(t, "heads")
		z := exectest.Size{
			B: rapid.IntRange(1, 3).Draw(t, "B"), T: rapid.IntRange(1, 9).Draw(t, "T"),
			H: heads, C: heads * rapid.IntRange(1, 12).Draw(t, "D"), V: rapid.IntRange(2, 200).Draw(t, "V"),
			Layers: rapid.IntRange(0, 3).Draw(t, "layers"), Dropout: rapid.SampledFrom([]float64{0, 0.1}).Draw(t, "dropout"),
		}
		model, err := rapid.SampledFrom(models).Draw(t, "model").build(z, true)
		if err != nil {
			t.Fatal(err)
		}
		s := graph.Whole(model)
		train := rapid.Bool().Draw(t, "train")
		if train {
			if err := s.Differentiate(); err != nil {
				t.Fatal(err)
			}
		}
		p, err := exec.Compile(s, b, exec.Options{Train: train, Slots: rapid.IntRange(0, 3).Draw(t, "slots")})
		if err != nil {
			t.Fatal(err)
		}
		checkPlan(t, b, p)
	})
}

// TestMemory checks the classes of a plan against sizes known from the model.
func TestMemory(t *testing.T) {
	b := backend(t, 1)
	z := exectest.Size{B: 2, T: 16, C: 32, H: 2, V: 64, Layers: 3}
	s := trainable(t, exectest.GPT, z)
	one := compile(t, s, b, exec.Options{Train: true}).Memory()
	var params int64
	for _, p := range s.Params {
		params += 4 * int64(p.Param.Size())
	}
	if one[exec.Parameters] != params || one[exec.Gradients] != params || one[exec.OptimizerState] != 2*params {
		t.Errorf("%v, but the parameters have %d bytes", one, params)
	}
	three := compile(t, s, b, exec.Options{Train: true, Slots: 3}).Memory()
	if 3*one[exec.Activations] < three[exec.Activations] || three[exec.Activations] < 5*one[exec.Activations]/2 {
		t.Errorf("activations of 3 slots take %d bytes, of one %d", three[exec.Activations], one[exec.Activations])
	}
	if one[exec.Workspace] != three[exec.Workspace] {
		t.Errorf("the workspace is %d bytes with one slot, %d with 3", one[exec.Workspace], three[exec.Workspace])
	}
	// A block keeps, in units of one activation: both norms' operands and
	// results, qkv (3), attention's result, fc's and gelu's results (4 each).
	kept := int64(4 * z.B * z.T * z.C * (2*2 + 3 + 1 + 8))
	logits := int64(4 * z.B * z.T * z.V)
	if got, most := one[exec.Activations], (int64(z.Layers)*kept+logits)*11/10+4*4*int64(z.B*z.T*z.C); got > most {
		t.Errorf("activations take %d bytes, should be at most %d", got, most)
	}
}

func TestBudget(t *testing.T) {
	b := backend(t, 1)
	s := trainable(t, exectest.GPT, exectest.Size{B: 1, T: 4, C: 8, H: 2, V: 500, Layers: 1})
	p := compile(t, s, b, exec.Options{Train: true})
	total := p.Memory().Total()
	if err := p.CheckBudget(total); err != nil {
		t.Error(err)
	}
	err := p.CheckBudget(total - 100)
	var e *exec.MemoryError
	if !errors.As(err, &e) {
		t.Fatalf("error %v", err)
	}
	if e.Missing() != 100 || e.Layer != 0 || e.LayerName != "wte" {
		t.Errorf("%d bytes missing, layer %d, %s", e.Missing(), e.Layer, e.LayerName)
	}
	if !strings.Contains(err.Error(), "(100 bytes) more than the budget") || !strings.Contains(err.Error(), "layer 0 (wte)") {
		t.Error(err)
	}
	for i, largest := range p.Largest(2) {
		if largest.Name != "wte" || largest.Bytes != 16000 || largest.Class != []exec.Class{exec.Parameters, exec.Gradients}[i] {
			t.Errorf("buffer %d by size is %+v", i, largest)
		}
	}
}

// TestDescribe holds the listing of a small model fixed: order, places, in-place
// results, gradients that are set and added to.
func TestDescribe(t *testing.T) {
	b := backend(t, 1)
	var out strings.Builder
	for _, train := range []bool{true, false} {
		s := trainable(t, exectest.GPT, exectest.Size{B: 1, T: 2, C: 4, H: 1, V: 5, Layers: 1, Dropout: 0.1})
		fmt.Fprintf(&out, "train %v\n%s", train, compile(t, s, b, exec.Options{Train: train}).Describe())
	}
	golden(t, "describe.txt", out.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; go test -update rewrites it):\n%s", path, diff)
	}
}
