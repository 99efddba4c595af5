package comm

import "golang.org/x/sys/cpu"

// vectorStep is the multiple of elements that addVectors takes.
const vectorStep = 32

// vectors reports whether addVectors runs here.
var vectors = cpu.X86.HasAVX2

// addVectors computes dst[i] += src[i] for n elements, a multiple of vectorStep.
//
//go:noescape
func addVectors(dst, src *float32, n int)
