package probe

import (
	"math/rand/v2"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
)

// Arena holds operands until it is freed. The zero value is empty.
type Arena [][]float32

// Period is after how many elements operands repeat: drawing all of them would
// take longer than the kernels.
const Period = 4096

const seed = 1

// Floats takes n random elements in [-1, 1) that repeat.
func (a *Arena) Floats(n int) []float32 {
	x := kernel.Alloc(n)
	*a = append(*a, x)
	r := rand.New(rand.NewPCG(seed, uint64(len(*a))))
	for i := range min(n, Period) {
		x[i] = 2*r.Float32() - 1
	}
	for done := Period; done < n; done *= 2 {
		copy(x[done:], x[:done])
	}
	return x
}

// Free gives the operands' memory back.
func (a *Arena) Free() {
	for _, x := range *a {
		kernel.Free(x)
	}
	*a = nil
}
