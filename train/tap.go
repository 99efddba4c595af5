package train

import (
	"context"
	"fmt"
	"sync"

	"github.com/galvani-ml/galvani/exec"
)

// tapped is an exec.Comm that shows what it exchanges. It does not embed the
// one behind it, so that none of an exec.Comm's methods goes unseen.
type tapped struct {
	comm exec.Comm // nil where tap answers by itself
	// tap is called in place of every exchange, which is call, with what it
	// sends and where it puts what it receives; either may be nil, or both the
	// same memory. kind says which of the program's exchanges it is.
	tap func(kind string, sent, received []float32, call func() error) error
}

// AllReduce sends x and receives the sum.
func (t tapped) AllReduce(ctx context.Context, group, name string, x []float32) error {
	return t.tap(collective("all-reduce", group, name), x, x, func() error { return t.comm.AllReduce(ctx, group, name, x) })
}

// AllGather sends src and receives dst.
func (t tapped) AllGather(ctx context.Context, group, name string, dst, src []float32) error {
	return t.tap(collective("all-gather", group, name), src, dst, func() error { return t.comm.AllGather(ctx, group, name, dst, src) })
}

// ReduceScatter sends src and receives dst.
func (t tapped) ReduceScatter(ctx context.Context, group, name string, dst, src []float32) error {
	return t.tap(collective("reduce-scatter", group, name), src, dst, func() error { return t.comm.ReduceScatter(ctx, group, name, dst, src) })
}

// AllToAll sends src and receives dst.
func (t tapped) AllToAll(ctx context.Context, group, name string, dst, src []float32) error {
	return t.tap(collective("all-to-all", group, name), src, dst, func() error { return t.comm.AllToAll(ctx, group, name, dst, src) })
}

// Rotate sends src and receives dst.
func (t tapped) Rotate(ctx context.Context, group, name string, dst, src []float32, shift int) error {
	return t.tap(collective("rotate", group, name), src, dst, func() error { return t.comm.Rotate(ctx, group, name, dst, src, shift) })
}

// Send sends x.
func (t tapped) Send(ctx context.Context, stage, edge int, mb exec.MicroBatch, name string, x []float32) error {
	return t.tap(crossing("send to", stage, edge, mb, name), x, nil, func() error { return t.comm.Send(ctx, stage, edge, mb, name, x) })
}

// Recv receives x.
func (t tapped) Recv(ctx context.Context, stage, edge int, mb exec.MicroBatch, name string, x []float32) error {
	return t.tap(crossing("receive from", stage, edge, mb, name), nil, x, func() error { return t.comm.Recv(ctx, stage, edge, mb, name, x) })
}

func collective(method, group, name string) string {
	return fmt.Sprintf("%s over %s: %s", method, group, name)
}

func crossing(method string, stage, edge int, mb exec.MicroBatch, name string) string {
	return fmt.Sprintf("%s stage %d, edge %d, micro-batch %d: %s", method, stage, edge, mb.Index, name)
}

// messages names the exchanges of a step by their kind and, from the second
// on, by how many of that kind there were before: whatever else goes on
// between them, they have the same names when the step is replayed.
type messages struct {
	mu    sync.Mutex
	calls map[string]int
}

func (m *messages) name(kind string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls == nil {
		m.calls = map[string]int{}
	}
	m.calls[kind]++
	if n := m.calls[kind]; n > 1 {
		return fmt.Sprintf("%s (call %d)", kind, n)
	}
	return kind
}
