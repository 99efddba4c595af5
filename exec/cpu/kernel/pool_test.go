package kernel

import (
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

func TestPoolCoversEachIndexOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		p := NewPool(threads)
		if p.Threads() != threads {
			t.Fatalf("pool of %d has %d threads", threads, p.Threads())
		}
		rapid.Check(t, func(t *rapid.T) {
			n, grain := rapid.IntRange(0, 300).Draw(t, "n"), rapid.IntRange(0, 40).Draw(t, "grain")
			seen := make([]atomic.Int32, n)
			p.For(n, func(i int) { seen[i].Add(1) })
			p.ForRange(n, grain, func(lo, hi int) {
				if hi-lo > max(grain, 1) {
					panic("range too long")
				}
				for i := lo; i < hi; i++ {
					seen[i].Add(1)
				}
			})
			for i := range seen {
				if c := seen[i].Load(); c != 2 {
					t.Fatalf("index %d done %d times in two loops", i, c)
				}
			}
		})
		if n := len(p.scratch.all) + 2*len(p.scratch.sums); n != ScratchFloats(threads) {
			t.Errorf("pool of %d takes %d elements, ScratchFloats says %d", threads, n, ScratchFloats(threads))
		}
		p.Close()
		p.Close() // again does nothing
	}
}

// TestPoolWakes uses workers that had time to park.
func TestPoolWakes(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	for range 3 {
		time.Sleep(3 * spinLimit)
		var n atomic.Int32
		p.For(100, func(int) { n.Add(1) })
		if n.Load() != 100 {
			t.Fatalf("%d of 100 done", n.Load())
		}
	}
	time.Sleep(3 * spinLimit) // Close finds them parked
}

func TestPoolDefaultThreads(t *testing.T) {
	p := NewPool(0)
	defer p.Close()
	if p.Threads() < 1 {
		t.Fatalf("%d threads", p.Threads())
	}
}

func TestNoAllocation(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	x := make([]float32, 64*64)
	y, z := make([]float32, 64*64), make([]float32, 64*64)
	lse, ids := make([]float32, 64), make([]int32, 64)
	a := AttentionGradArgs{AttentionArgs: AttentionArgs{Batch: 1, Heads: 2, KVHeads: 2, Queries: 32, Keys: 32, Dim: 8, LSE: lse}}
	h := PlainHeads(x, 32, 2, 8)
	a.Q, a.K, a.V, a.DOut = h, h, h, h
	h = PlainHeads(y, 32, 2, 8)
	a.Out, a.DQ, a.DK, a.DV = h, h, h, h
	g := GemmArgs{M: 64, N: 64, K: 64, A: x, LDA: 64, B: x, LDB: 64, C: y, LDC: 64}
	few := g
	few.M, few.TransB = 3, true
	words := make([]uint16, 64*64)
	half := g
	half.BF16, half.A16, half.B16, half.C16, half.Saved, half.Function = true, words, words, make([]uint16, 64*64), y, SiLUFunction
	step := func() {
		Gemm(p, g)
		Gemm(p, half)
		LayerNormBF16(p, half.C16, lse, lse, x, x, x, 64, 64, 1e-5)
		ActivationBF16(p, half.C16, SiLUFunction, x)
		Gemm(p, few)
		GemmBatched(p, BatchedGemmArgs{GemmArgs: g, Batch: 1})
		Attention(p, a.AttentionArgs)
		AttentionGrad(p, a)
		GELUTanh(p, y, x)
		GELUTanhGrad(p, y, x, x)
		Scale(p, y, x, 2)
		LayerNorm(p, y, lse, lse, x, x, x, 64, 64, 1e-5)
		LayerNormGrad(p, y, z, z, x, x, x, lse, lse, 64, 64, false)
		CrossEntropy(p, lse, x, ids, 64, 64, 1)
		CrossEntropyGrad(p, y, x, lse, ids, WholeVocabulary(64), 64, 1)
		Embedding(p, y, x, ids, WholeVocabulary(64), 64)
		EmbeddingGrad(p, y, x, ids, WholeVocabulary(64), 64, false)
		PositionAdd(p, y, x, x, 1, 64, 64)
		ColumnSum(p, y, x, 64, 64, 64, false)
		Dropout(p, y, x, DropoutArgs{P: 0.5})
		AdamW(p, y, z, z, x, AdamWArgs{Step: 1, GradScale: 1})
		SumSquares(p, x)
	}
	for _, isa := range ISAs() {
		SetISA(isa)
		if n := testing.AllocsPerRun(10, step); n != 0 {
			t.Errorf("%s: %g allocations a step, want none", isa, n)
		}
	}
	SetISA("")
}

func TestSetISA(t *testing.T) {
	best := ActiveISA()
	defer SetISA(best)
	for _, isa := range ISAs() {
		if err := SetISA(isa); err != nil || ActiveISA() != isa {
			t.Errorf("SetISA(%s): %v, active is %s", isa, err, ActiveISA())
		}
	}
	var wrong *ISAError
	if err := SetISA("mmx"); !errors.As(err, &wrong) || wrong.ISA != "mmx" {
		t.Errorf("SetISA of an unknown set: %v, want an ISAError", err)
	}
	if err := StartError(); err != nil {
		t.Errorf("environment variable %s: %v", EnvISA, err)
	}
}

func TestAlloc(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 1000, 1 << 19, 1<<19 + 1} {
		x := Alloc(n)
		if len(x) != n {
			t.Fatalf("Alloc(%d) has %d elements", n, len(x))
		}
		if n == 0 {
			continue
		}
		if at := uintptr(unsafe.Pointer(&x[0])); at%64 != 0 {
			t.Errorf("Alloc(%d) starts at %#x", n, at)
		}
		for i, v := range x {
			if v != 0 {
				t.Fatalf("Alloc(%d): element %d is %g", n, i, v)
			}
			x[i] = float32(math.Pi)
		}
		Free(x)
	}
	Free(make([]float32, 3)) // not ours
	Free(nil)
}
