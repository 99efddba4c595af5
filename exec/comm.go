package exec

import "context"

// MicroBatch is what a pass works on.
type MicroBatch struct {
	Slot  int // where its activations are kept, below Options.Slots
	Step  int // training step
	Index int // number of the micro-batch within the step
	// Last says that a backward pass is the last of its step: the sums of
	// gradients over ranks then begin before it ends. It may be left out.
	Last bool
}

// GroupWorld is the group of all ranks. Every [Comm] has it: [Machine.Update]
// uses it.
const GroupWorld = "world"

// Comm moves tensors between the ranks of a job. Groups are named as
// [graph.Axis] names them, and have their members in one order on all ranks.
// Ranks of a group call its collectives in the same order. name says what is
// moved, for errors. A machine makes one call at a time, though not always from
// the same goroutine, and a call whose context ends must return.
type Comm interface {
	// AllReduce replaces x by its sum over the group.
	AllReduce(ctx context.Context, group, name string, x []float32) error
	// AllGather sets dst to the members' src, one after the other. src may be
	// this rank's part of dst.
	AllGather(ctx context.Context, group, name string, dst, src []float32) error
	// ReduceScatter sets dst to this rank's part of the sum of src, which is
	// kept. dst may be this rank's part of src.
	ReduceScatter(ctx context.Context, group, name string, dst, src []float32) error
	// AllToAll sends part i of src to member i, and sets dst to the parts
	// received, in the order of the members.
	AllToAll(ctx context.Context, group, name string, dst, src []float32) error
	// Rotate sends src to the member shift places further around the ring of
	// members, backwards if shift is negative, and sets dst, which may be src, to
	// what comes from as far before.
	Rotate(ctx context.Context, group, name string, dst, src []float32, shift int) error
	// Send sends x to another pipeline stage; x may be overwritten afterwards.
	Send(ctx context.Context, stage, edge int, mb MicroBatch, name string, x []float32) error
	// Recv receives into x what the stage sent on the same edge for the same
	// micro-batch.
	Recv(ctx context.Context, stage, edge int, mb MicroBatch, name string, x []float32) error
}

// Sharer is a [Comm] with memory that ranks share: its collectives move no copies
// of what lies there.
type Sharer interface {
	// Share returns n zeroed elements, or nil where ranks share no memory.
	Share(n int) []float32
}
