package bench

import (
	"time"

	"github.com/galvani-ml/galvani/exec/cpu/probe"
)

// cpuSizes are the sizes of the suite cpu.
type cpuSizes struct {
	rows                      []int         // M: tokens at once
	width, hidden, vocab      int           // C, 4 C and V of the model
	head                      bool          // the head's products too
	batch, heads, tokens, dim int           // of attention
	elements                  int           // of an operand of a vector kernel, about
	lossRows                  int           // of the cross-entropy's [rows, V]
	memory                    int           // elements of each of the triad's three vectors
	rounds                    int           // of the loop of multiply-adds
	repetitions               int           // of each measurement, at least
	window                    time.Duration // that each measurement takes, at least
	rest                      time.Duration // between the turns of two sides
}

// gpt2 are the sizes of GPT-2 124M, its vocabulary padded to a multiple of 48.
// Vector kernels get as many rows as make them work from memory: no operand fits
// a cache.
var gpt2 = cpuSizes{
	rows:  []int{256, 1024},
	width: 768, hidden: 3072, vocab: 50304,
	batch: 4, heads: 12, tokens: 256, dim: 64,
	elements: 24 << 20, lossRows: 1024, memory: 32 << 20, rounds: 1 << 20,
	repetitions: 5, window: 60 * time.Millisecond, rest: rest,
}

// groups are all that is measured.
func (z *cpuSizes) groups() []func(a *probe.Arena) []job {
	return append(z.products(), z.gelu, z.layerNorm, z.crossEntropy, z.adamW)
}

// traffic is the bytes of n elements.
func traffic(n int) float64 { return 4 * float64(n) }
