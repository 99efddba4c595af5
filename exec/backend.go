package exec

import "github.com/galvani-ml/galvani/graph"

// Backend computes on one kind of device.
type Backend interface {
	// Lower makes the kernel of an operation. It is called once an operation,
	// when a stage is compiled; also for each [Fused] pair that it might have a
	// kernel for, and returns [ErrNotFused] if it has none.
	Lower(Call) (*Kernel, error)
	// Overhead is the memory in bytes that the back end takes for itself.
	Overhead() int64
	Allocator
	Optimizer
}

// Allocator gives out memory. (Part of a [Backend].)
type Allocator interface {
	// Alloc returns n zeroed elements at a multiple of 64 bytes.
	Alloc(n int) []float32
	// Free takes back what Alloc returned.
	Free([]float32)
}

// Optimizer updates parameters. (Part of a [Backend].)
type Optimizer interface {
	// SumSquares is the sum of squares of x.
	SumSquares(x []float32) float64
	// AdamW updates a parameter and its moments from gradScale times its
	// gradient. decay says whether a.WeightDecay applies.
	AdamW(p Param, a AdamW, gradScale float64, decay bool)
}

// Call describes one operation to be lowered. Besides the graph's operations
// there are [Assign] and [Fused].
type Call struct {
	Spec graph.Spec
	Tag  graph.Tag
	In   []graph.Type // operands
	Out  []graph.Type // the result, then the side outputs

	Precision Precision // of products by parameters
}

// Kernel is an operation bound to its shapes.
type Kernel struct {
	// Run computes. It allocates nothing, and may be called with different
	// memory each time.
	Run func(*Args) error
	// Scratch is how many elements of scratch memory Run needs.
	Scratch int
	// InPlace lists the operands of the result's size that the result may
	// overwrite.
	InPlace []int
	// Adds lists the results that Run can add to what is there.
	Adds []int
	// Rounds lists the operands that Run rounds to bf16 before all else, so that
	// they may be stored so; Narrows lists the results that it can store so.
	Rounds, Narrows []int
	// FLOPs counts multiplications and additions; 0 where memory, not
	// arithmetic, is the limit.
	FLOPs int64
	// Packing is set where Run is faster with Args.Packed.
	Packing *Packing
}

// Args is the memory that a kernel works on. Operands of type int32 are in
// Ints at their index; in In are then their bits, for operations that only move
// values. Where In or Out has nothing, the value is stored in bf16, as the upper
// 16 bits of each float32, and is in In16 or Out16; these are nil if none is.
type Args struct {
	In      [][]float32
	Ints    [][]int32
	Out     [][]float32 // the result, then the side outputs
	Add     []bool      // results to be added to what is there
	Scratch []float32
	Packed  []float32 // the operand of Kernel.Packing in its layout; nil where it is not packed

	In16, Out16 [][]uint16
}

// Assign is the operation y = x, or with Args.Add y += x. It moves values to
// where they are kept: a gradient that has other users, an operand that a
// collective would overwrite.
type Assign struct{}

// Kind is "assign".
func (Assign) Kind() string { return "assign" }

// Infer gives x's type.
func (Assign) Infer(in []graph.Type) (graph.Type, []graph.Type, error) { return in[0], nil, nil }

// Eval copies.
func (Assign) Eval(e *graph.Eval) error {
	copy(e.Out.Data, e.In[0].Data)
	return nil
}
