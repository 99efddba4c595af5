// Package probe holds what the speed of this processor is measured by: operands
// of kernels, and the products of layers at given sizes. The stopwatch is the
// caller's.
package probe
