package program

import (
	"context"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/parallel"
)

// world carries the tensors of one rank's program over a transport: it is the
// exec.Comm of a job.
type world struct {
	transport comm.Transport
	part      *parallel.Part
	groups    map[string]*comm.Group
}

// NewComm makes the groups of a part, so that its program can exchange tensors
// with the other ranks of the plan over t.
func NewComm(t comm.Transport, part *parallel.Part) (exec.Comm, error) {
	w := &world{transport: t, part: part, groups: map[string]*comm.Group{}}
	for _, name := range slices.Sorted(maps.Keys(part.Groups)) {
		g, err := comm.NewGroup(t, groupID(name), part.Groups[name])
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", name, err)
		}
		w.groups[name] = g
	}
	return w, nil
}

// Share returns memory that the ranks of this host share, if they do.
func (w *world) Share(n int) []float32 {
	if !comm.Shares(w.transport) {
		return nil
	}
	return comm.Alloc(w.transport, n)
}

// groupID gives a group the same number on all its ranks, which may be in
// different numbers of groups.
func groupID(name string) uint32 {
	return crc32.ChecksumIEEE([]byte(name)) % comm.GroupEdges
}

func (w *world) group(name string) (*comm.Group, error) {
	g := w.groups[name]
	if g == nil {
		return nil, fmt.Errorf("this rank is in no group %q", name)
	}
	return g, nil
}

// AllReduce sums x over the group.
func (w *world) AllReduce(ctx context.Context, group, name string, x []float32) error {
	g, err := w.group(group)
	if err != nil {
		return err
	}
	return g.AllReduce(ctx, name, x)
}

// AllGather joins the members' src.
func (w *world) AllGather(ctx context.Context, group, name string, dst, src []float32) error {
	g, err := w.group(group)
	if err != nil {
		return err
	}
	return g.AllGather(ctx, name, dst, src)
}

// ReduceScatter keeps this rank's part of the sum of src.
func (w *world) ReduceScatter(ctx context.Context, group, name string, dst, src []float32) error {
	g, err := w.group(group)
	if err != nil {
		return err
	}
	return g.ReduceScatter(ctx, name, dst, src)
}

// AllToAll exchanges the parts of src.
func (w *world) AllToAll(ctx context.Context, group, name string, dst, src []float32) error {
	g, err := w.group(group)
	if err != nil {
		return err
	}
	return g.AllToAll(ctx, name, dst, src)
}

// Rotate passes src on around the ring of the group.
func (w *world) Rotate(ctx context.Context, group, name string, dst, src []float32, shift int) error {
	g, err := w.group(group)
	if err != nil {
		return err
	}
	return g.Rotate(ctx, name, dst, src, shift)
}

// Send sends x to the rank of another stage that has this rank's coordinates
// otherwise.
func (w *world) Send(ctx context.Context, stage, edge int, mb exec.MicroBatch, name string, x []float32) error {
	return w.transport.Send(ctx, w.part.Peer(stage), w.tag(edge, mb, name), x)
}

// Recv receives x from such a rank.
func (w *world) Recv(ctx context.Context, stage, edge int, mb exec.MicroBatch, name string, x []float32) error {
	return w.transport.Recv(ctx, w.part.Peer(stage), w.tag(edge, mb, name), x)
}

func (w *world) tag(edge int, mb exec.MicroBatch, name string) comm.Tag {
	return comm.Tag{Edge: uint32(edge), Step: uint64(mb.Step), Micro: uint32(mb.Index), Name: name}
}
