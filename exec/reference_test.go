package exec_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
)

// TestReference runs two micro-batches of whole models on kernels made of their
// operations' evaluations, and compares the gradients with the CPU's.
func TestReference(t *testing.T) {
	for _, model := range models {
		z := exectest.Small
		z.Dropout = 0.1
		s := trainable(t, model.build, z)
		data := exectest.Draw(rand.New(rand.NewPCG(5, 6)), s, z.V)
		gradients := func(b exec.Backend) *exec.Machine {
			m := machine(t, compile(t, s, b, exec.Options{Train: true}), nil)
			exectest.SetParams(m, data)
			exectest.SetInputs(m, 0, data)
			pass(t, m, exec.MicroBatch{})
			pass(t, m, exec.MicroBatch{Index: 1})
			return m
		}
		want := gradients(backend(t, 1)).Params()
		for i, p := range gradients(plainBackend{}).Params() {
			for j, g := range p.Grad {
				if w := want[i].Grad[j]; math.Abs(float64(g-w)) > 1e-4*math.Abs(float64(w))+1e-5 {
					t.Errorf("%s: gradient of %s, element %d: %g, on the CPU %g", model.name, p.Shard.Param.Name, j, g, w)
					break
				}
			}
		}
	}
}
