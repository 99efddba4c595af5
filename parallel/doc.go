// Package parallel turns one model into the graphs that many workers run.
//
// A [Plan] says how: how many pipeline stages (pp) and micro-batches a step
// has, in which order each stage runs them, and the [Strategy] of each layer:
// how many ways its batch (dp), its heads, inner width and vocabulary (tp), and
// its sequence (sp, cp) are split, what the ranks shard besides (ZeRO), and
// whether it is computed again in the backward pass. It has a text form,
//
//	pp=2 dp=2 tp=1 zero=0 ckpt=none micro=4 schedule=1f1b stages=3,5
//
// and a JSON form with a schema version. [Auto] chooses a plan by a plain rule.
//
// [Partition] gives one rank its [Part]: a local graph, the groups of ranks it
// communicates with, and its schedule. It has no code per strategy. The ranks
// form a [Mesh] of named axes; on each axis every tensor has a [Placement], and
// a [Table] says the placements of the leaves. Each kind of operation has one
// rule, from the placements of its operands on one axis to those it needs and
// the one of its result. Attention alone can run in two ways on shards of the
// sequence, so there a table says which: see [RingTable]. Where what is there
// differs from what is needed, a conversion is inserted, whose gradient is its
// mirror, so that the differentiated local graphs compute the gradients of the
// whole model. Neighbouring layers of different strategies meet by conversions
// too.
//
// Operations that compute by position, as dropout does, are graph.Placed: they
// are told how their operands are cut out of the whole, so any shard will do.
//
// Pipeline stages are cut at the borders of layers. A value that crosses
// becomes a pair of graph.Send and graph.Recv between ranks that differ in their
// stage only, in whatever placement it has on the other axes.
//
// The package is pure: it does no I/O, reads no clock and starts no goroutine,
// and the same arguments always give the same graphs. All ranks walk the whole
// model, so they agree on names, edges and placements without talking.
//
// In comments, P is the number of stages, m the number of micro-batches, and a
// block is a layer of the model other than the embedding and the head.
package parallel
