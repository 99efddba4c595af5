// Package graph is Galvani's intermediate representation: Gorgonia's ExprGraph
// with the operations of Transformers on top.
//
// A node of the graph is a *gorgonia.Node whose operation is an [*Op]. The Op
// joins a [Spec], the mathematics of one kind of operation, with a [Tag] that
// says to which layer it belongs and whether it runs forward or backward. Specs
// are plain values: shape rules, a reference evaluation in float64, and, for
// those that implement [Differentiable], the gradient as a graph. Since Op
// implements Gorgonia's Op and SDOp interfaces, Gorgonia differentiates these
// graphs and its TapeMachine runs them; tests use it as the oracle of the
// compiled executor.
//
// Models are built shape-only through a [Builder] (parameters hold no values),
// so that a planner may build, rewrite and cost graphs far larger than memory.
// A [Model] is the whole computation of one micro-batch; a [Stage] is what one
// rank runs of it, after partitioning.
//
// Conventions that hold everywhere in the package:
//
//   - B is the number of sequences, T tokens in a sequence, C the width of the
//     model, H heads, D the width of a head, V the vocabulary.
//   - Every Op has a unique hash, so Gorgonia never merges two of them. Its
//     common sub-expression elimination compares a 32-bit hash and not the
//     children, and would otherwise merge different nodes.
//   - Leaves are named, and names are unique in a graph, for the same reason.
//   - A second result of an operation (saved statistics, a second gradient) is
//     a side output, reached by [Side].
//   - A graph is differentiated once. To plan again, build again.
//   - Where two gradients meet, Gorgonia adds its own elementwise "+"; [IsSum]
//     recognises it. No other operation of Gorgonia's appears.
package graph
