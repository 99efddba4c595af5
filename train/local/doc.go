// Package local trains models that a program builds itself, operations of its
// own included, in its own process.
//
// A [graph.Builder] builds the model of one micro-batch, as the packages models
// and graph show; a plan says how ranks share it. The ranks of a [Trainer] are
// goroutines that exchange tensors in memory, so every plan that workers could
// run can be run, and gives what it would give there. For ranks that are
// processes there are the parts that a Trainer is made of: a comm.Transport,
// [program.CompileModel], [program.NewComm] and [program.RunPasses].
//
// What a model must have for a plan: at least three layers, of which the first
// is the embedding and the last the head, a loss, the inputs' names that
// package graph lists, and for tensor parallelism [graph.Builder.Split] of the
// parameters that it splits.
package local
