// Package cpu is the back end that runs on the processor: it lowers the
// operations of package graph to the kernels of package kernel.
//
// A table maps each kind of operation to the function that lowers it. A
// lowering works out sizes, strides and flags once and returns a kernel that
// only looks up memory. Operations from outside bring theirs, see [Lowerer];
// [Backend.Register] replaces those of any kind.
// Products have kernels for what follows them, too: see [exec.Fused].
package cpu
