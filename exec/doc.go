// Package exec compiles a differentiated [graph.Stage] to a [Program] and runs
// it on a [Machine].
//
// A Program is two lists of instructions, forward and backward, over buffers
// whose places in one arena are planned before anything runs. So the memory a
// rank needs is known exactly, by class and by layer, and a step allocates
// nothing. The package knows no arithmetic: a [Backend] lowers each operation
// to a [Kernel], and a [Comm] moves tensors between ranks.
//
// # Order
//
// The forward pass follows the graph from its inputs. The backward pass starts
// at the last layer; each gradient of a parameter runs as soon as the gradient
// it comes from exists, and an operation that is run again for the backward pass
// (activation checkpointing) as late as possible. The order depends on the graph
// alone, so the ranks of a group meet in their collectives.
//
// # Passes
//
// Passes rewrite the program; [Options] turn each on or off. No bit of any result
// changes.
//
//   - [Epilogue]: where the back end has a kernel for an operation and one that
//     reads its result, both become one instruction, see [Fused]. A product so
//     applies the activation, adds the residual, or multiplies by the activation's
//     slope while its result is in cache.
//   - [Elementwise]: a chain of elementwise operations becomes one instruction too.
//   - [Narrow]: with [BF16], what products alone read, which would round it, is
//     rounded by its producer and stored in bf16, in half of the memory.
//   - [InPlace]: a result takes the memory of an operand that nothing reads any more.
//   - [Recompute]: the backward pass computes activations and norms again. It saves
//     memory and takes time, so it is off unless it is enabled. What else is
//     computed again says the stage: [graph.Stage.Rematerialize].
//   - [Pack]: parameters are kept in the layouts that products read them in. It
//     takes memory, so it is off unless it is enabled.
//
// # Overlap
//
// Collectives, sends and receives run beside the computation, on a goroutine of
// the machine, in the order in which they start, which is the same on all ranks
// of a group. An exchange starts at its place and is waited for by the first
// instruction that needs its result or its operand's memory. To give it time,
// parameters that are gathered for one layer are so a layer ahead, gradients that
// are reduce-scattered are so after the layer, and receives start with the pass.
// Sums of gradients over ranks start in the step's last backward pass (see
// [MicroBatch]) as soon as the last gradient of a bucket is written;
// [Machine.Update] waits for them. [Machine.Waited] tells how long the
// computation waited. Disabling [Overlap] runs every exchange in line; no bit of
// any result changes.
//
// # Memory
//
// The arena has these parts, in this order:
//
//	parameters   in order of the groups their gradients are summed over
//	gradients    laid out as the parameters; so are both moments of AdamW
//	once         parameters as the operations need them that run once a step
//	sums         gradients that such operations read
//	states       key and value caches, constants
//	slots        one a micro-batch in flight: inputs and activations, the values
//	             that the forward pass leaves to the backward pass
//	workspace    values that live within one pass, and kernels' scratch memory,
//	             as far as they find no room in the slot that is running
//	staging      for collectives along inner dimensions, and the update's message
//
// A slot's memory is written layer by layer on the way forward and read in the
// opposite order on the way back, so what is not yet written, or no longer read,
// serves as workspace.
//
// # Gradients
//
// Operations write parameter gradients directly to their place. The first to
// write in the first micro-batch of a step overwrites; all others add, so sums
// over micro-batches and over several uses of a parameter cost nothing.
// [Machine.Update] then sums over ranks, clips and applies AdamW.
//
// # Once a step
//
// Operations tagged with a [graph.Once] make two more lists. The prologue holds
// what depends on parameters alone, as the gathers of ZeRO-1 and ZeRO-2: it runs
// in the first forward pass after the parameters changed. The epilogue holds
// gradients of such operations, as the reduce-scatters of ZeRO-1: [Machine.Update]
// begins with it. What the epilogue reads is summed over the micro-batches in
// memory of its own. Neighbouring collectives of one kind over one group that do
// not need each other run as one, up to 4 MiB.
package exec
