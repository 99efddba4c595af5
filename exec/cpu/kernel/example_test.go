package kernel_test

import (
	"fmt"

	"github.com/galvani-ml/galvani/exec/cpu/kernel"
)

// A pool runs kernels one after the other: a matrix product with a bias, then
// the activation in place.
func Example() {
	pool := kernel.NewPool(2)
	defer pool.Close()

	x := []float32{1, 2, 3, 4}        // [2, 2]
	w := []float32{1, 0, -1, 0, 1, 1} // [2, 3]
	y := kernel.Alloc(2 * 3)
	defer kernel.Free(y)
	kernel.Gemm(pool, kernel.GemmArgs{
		M: 2, N: 3, K: 2,
		A: x, LDA: 2, B: w, LDB: 3, C: y, LDC: 3,
		Epilogue: kernel.Epilogue{Bias: []float32{0, 0, 10}},
	})
	fmt.Println(y)
	kernel.SiLU(pool, y, y)
	fmt.Printf("%.3f\n", y)
	// Output:
	// [1 2 11 3 4 11]
	// [0.731 1.762 11.000 2.858 3.928 11.000]
}
