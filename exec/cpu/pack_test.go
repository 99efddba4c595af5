package cpu_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
)

// TestPack trains two steps of two micro-batches with the parameters packed and
// without, and compares every bit: the second step reads what the first one
// changed.
func TestPack(t *testing.T) {
	size := exectest.Size{B: 3, T: 16, C: 24, H: 2, V: 40, Layers: 2}
	for _, precision := range []exec.Precision{exec.FP32, exec.BF16} {
		train := func(enable ...exec.Pass) ([]float32, int64) {
			model, err := exectest.GPT(size, true)
			if err != nil {
				t.Fatal(err)
			}
			s := graph.Whole(model)
			if err := s.Differentiate(); err != nil {
				t.Fatal(err)
			}
			b, err := cpu.New(2)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			p, err := exec.Compile(s, b, exec.Options{Train: true, Precision: precision, Enable: enable})
			if err != nil {
				t.Fatal(err)
			}
			m, err := exec.New(p, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			data := exectest.Draw(rand.New(rand.NewPCG(1, 2)), s, size.V)
			exectest.SetParams(m, data)
			exectest.SetInputs(m, 0, data)
			for step := range 2 {
				for micro := range 2 {
					mb := exec.MicroBatch{Step: step, Index: micro}
					if err := m.Forward(context.Background(), mb); err != nil {
						t.Fatal(err)
					}
					if err := m.Backward(context.Background(), mb, micro == 0); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := m.Update(context.Background(), exec.AdamW{LR: 0.1, Beta1: 0.9, Beta2: 0.9, Eps: 1e-8, Step: step + 1}); err != nil {
					t.Fatal(err)
				}
			}
			var values []float32
			for _, p := range m.Params() {
				values = append(values, p.Value...)
			}
			return values, p.Memory()[exec.Parameters]
		}
		plain, held := train()
		packed, more := train(exec.Pack)
		if !slices.Equal(plain, packed) {
			t.Errorf("%s: packed parameters train differently", precision)
		}
		if more <= held {
			t.Errorf("%s: %d bytes of parameters, %d with packed ones: nothing is packed", precision, held, more)
		}
	}
}
