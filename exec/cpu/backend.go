package cpu

import (
	"fmt"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// Backend computes on the processor. It runs one kernel at a time: machines
// that share a Backend take turns.
type Backend struct {
	pool  *kernel.Pool
	table map[string]LowerFunc // by kind; replaced, not changed, by Register
	// unchained are the kinds that are not links of a chain any more.
	unchained map[string]bool
}

var _ exec.Backend = (*Backend)(nil)

// New starts a back end of that many threads, the caller counted; fewer than 1
// means one for each processor. It fails where GALVANI_ISA names an instruction
// set that the processor lacks.
func New(threads int) (*Backend, error) {
	if err := kernel.StartError(); err != nil {
		return nil, err
	}
	return &Backend{pool: kernel.NewPool(threads), table: table}, nil
}

// Close ends the threads. Memory that Alloc gave out stays valid.
func (b *Backend) Close() { b.pool.Close() }

// Threads is the number of threads.
func (b *Backend) Threads() int { return b.pool.Threads() }

// Overhead is the bytes of the threads' scratch memory.
func (b *Backend) Overhead() int64 { return 4 * int64(kernel.ScratchFloats(b.pool.Threads())) }

// Alloc returns n zeroed elements, on huge pages where that pays.
func (b *Backend) Alloc(n int) []float32 { return kernel.Alloc(n) }

// Free takes back what Alloc returned.
func (b *Backend) Free(x []float32) { kernel.Free(x) }

// SumSquares is the sum of squares of x, in float64.
func (b *Backend) SumSquares(x []float32) float64 { return kernel.SumSquares(b.pool, x) }

// AdamW updates a parameter in one pass over it, its gradient and its moments.
func (b *Backend) AdamW(p exec.Param, a exec.AdamW, gradScale float64, decay bool) {
	args := kernel.AdamWArgs{LR: a.LR, Beta1: a.Beta1, Beta2: a.Beta2, Eps: a.Eps, Step: a.Step, GradScale: gradScale}
	if decay {
		args.WeightDecay = a.WeightDecay
	}
	kernel.AdamW(b.pool, p.Value, p.M, p.V, p.Grad, args)
}

// Lower makes the kernel of an operation: by what was registered for its kind or
// is there for it, or else by the operation itself, if it is a [Lowerer]. Its
// errors are a *[KernelError], or say what of an operation no kernel computes.
func (b *Backend) Lower(c exec.Call) (*exec.Kernel, error) {
	if lower := b.table[c.Spec.Kind()]; lower != nil {
		return lower(b.pool, c)
	}
	switch s := c.Spec.(type) {
	case exec.Fused:
		return b.chain(s, c)
	case Lowerer:
		return s.Lower(b.pool, c)
	}
	return nil, &KernelError{Kind: c.Spec.Kind(), Spec: c.Spec}
}

// table has the kinds of operations that every back end has kernels for.
var table = map[string]LowerFunc{
	"activation":           lowering(activation),
	"activation_grad":      lowering(activationGrad),
	"add":                  lowering(add),
	"add_bias":             lowering(addBias),
	"add_position":         lowering(addPosition),
	"assign":               lowering(assign),
	"attention":            lowering(attention),
	"attention_block":      lowering(attentionBlock),
	"attention_block_grad": lowering(attentionBlockGrad),
	"attention_grad":       lowering(attentionGrad),
	"bias_grad":            lowering(biasGrad),
	"cached_attention":     lowering(cachedAttention),
	"cross_entropy":        lowering(crossEntropy),
	"cross_entropy_grad":   lowering(crossEntropyGrad),
	"dropout":              lowering(dropout),
	"embedding":            lowering(embedding),
	"embedding_grad":       lowering(embeddingGrad),
	"join_kv":              lowering(joinKV),
	"join_kv_grad":         lowering(joinKVGrad),
	"layer_norm":           lowering(layerNorm),
	"layer_norm_grad":      lowering(layerNormGrad),
	"linear":               lowering(linear),
	"linear_input_grad":    lowering(linearInputGrad),
	"linear_weight_grad":   lowering(linearWeightGrad),
	"log_sum_exp":          lowering(logSumExp),
	"matmul":               lowering(matMul),
	"position_grad":        lowering(positionGrad),
	"rms_norm":             lowering(rmsNorm),
	"rms_norm_grad":        lowering(rmsNormGrad),
	"slice":                lowering(slice),

	"linear+activation":                 lowering(fused),
	"linear+add":                        lowering(fused),
	"linear_input_grad+activation_grad": lowering(fused),
	"linear_input_grad+add":             lowering(fused),
}

// lowering makes a LowerFunc of one for a certain Spec.
func lowering[S graph.Spec](lower func(*kernel.Pool, S, exec.Call) (*exec.Kernel, error)) LowerFunc {
	return func(p *kernel.Pool, c exec.Call) (*exec.Kernel, error) {
		s, ok := c.Spec.(S)
		if !ok {
			return nil, fmt.Errorf("a %T calls itself %s, which is the kind of %T", c.Spec, c.Spec.Kind(), s)
		}
		return lower(p, s, c)
	}
}
