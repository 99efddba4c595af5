package probe_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/cpu/probe"
)

// How fast the products of a layer are would be told by a stopwatch around Gemm.
func ExampleLinear() {
	pool := kernel.NewPool(1)
	defer pool.Close()
	var operands probe.Arena
	defer operands.Free()
	for _, p := range probe.Linear(&operands, 4, 16, 48) {
		kernel.Gemm(pool, p.Args)
		fmt.Println(p.Kind, p.Form, p.FLOPs())
	}
	// Output:
	// linear_input_grad NT 6144
	// linear_weight_grad TN 6144
	// linear NN 6144
}

func TestOperandsFitTheirKernels(t *testing.T) {
	pool := kernel.NewPool(2)
	defer pool.Close()
	var operands probe.Arena
	defer operands.Free()
	for _, p := range probe.Linear(&operands, 5, 7, 9) {
		if err := p.Args.Check(); err != nil {
			t.Errorf("%s: %v", p.Kind, err)
		}
	}
	a := probe.NewAttention(&operands, 2, 2, 9, 8)
	a.Forward(pool)
	a.Backward(pool)
	if got, want := a.ForwardFLOPs(), int64(2*2*8*2*2*45); got != want {
		t.Errorf("attention of 45 pairs in 4 heads counts %d operations, want %d", got, want)
	}
	x := operands.Floats(2*probe.Period + 3)
	if !slices.Equal(x[:3], x[2*probe.Period:]) || slices.Min(x) < -1 || slices.Max(x) >= 1 {
		t.Error("operands do not repeat, or leave [-1, 1)")
	}
}
