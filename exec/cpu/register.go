package cpu

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
)

// Lowerer is a graph.Spec that brings its kernel for the processor.
type Lowerer interface {
	graph.Spec
	// Lower makes the kernel for the operands and results of c. The kernel runs
	// on p, which runs one kernel at a time; its bits should not depend on the
	// number of threads. [exec.Reference] makes a slow one of Eval.
	Lower(p *kernel.Pool, c exec.Call) (*exec.Kernel, error)
}

// LowerFunc makes the kernel of one operation, as [Lowerer] does.
type LowerFunc func(*kernel.Pool, exec.Call) (*exec.Kernel, error)

// Register sets the lowering of a kind of operation on this back end, in place
// of an earlier one: of operations that are no [Lowerer], of built-in ones, and
// of pairs as "linear+activation", see [exec.Fused]. Pairs and chains of
// operations that the kind is one of are not fused any more, unless they are
// registered after it. It is to be called before anything is compiled for b.
func (b *Backend) Register(kind string, lower LowerFunc) {
	b.table, b.unchained = maps.Clone(b.table), maps.Clone(b.unchained)
	if b.unchained == nil {
		b.unchained = map[string]bool{}
	}
	b.unchained[kind] = true
	for other := range b.table {
		if slices.Contains(strings.Split(other, "+"), kind) {
			delete(b.table, other)
		}
	}
	b.table[kind] = lower
}

// KernelError is an operation that the CPU has no kernel for.
type KernelError struct {
	Kind string
	Spec graph.Spec
}

// Error says what to implement.
func (e *KernelError) Error() string {
	return fmt.Sprintf("no kernel on the CPU for operations of kind %s: let %T implement cpu.Lowerer, or give one to Backend.Register; exec.Reference makes a slow one of Eval",
		e.Kind, e.Spec)
}
