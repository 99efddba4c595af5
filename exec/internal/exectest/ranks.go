package exectest

import (
	"context"
	"fmt"
	"sync"

	"github.com/galvani-ml/galvani/exec"
)

// Ranks joins n ranks within the process. Every group is all of them.
type Ranks struct {
	n     int
	mu    sync.Mutex
	met   *sync.Cond
	calls map[string]*call
	sent  map[string]chan []float32
}

type call struct {
	give       [][]float32
	came, left int
}

// NewRanks returns a meeting place of n ranks.
func NewRanks(n int) *Ranks {
	r := &Ranks{n: n, calls: map[string]*call{}, sent: map[string]chan []float32{}}
	r.met = sync.NewCond(&r.mu)
	return r
}

// Rank returns rank i's side, which is also pipeline stage i.
func (r *Ranks) Rank(i int) exec.Comm { return &rank{Ranks: r, me: i} }

type rank struct {
	*Ranks
	me int
}

// exchange gives every rank copies of what all brought.
func (r *rank) exchange(group, name string, x []float32) [][]float32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := group + "/" + name
	c := r.calls[key]
	for c != nil && c.came == r.n { // an earlier call that some have not left
		r.met.Wait()
		c = r.calls[key]
	}
	if c == nil {
		c = &call{give: make([][]float32, r.n)}
		r.calls[key] = c
	}
	c.give[r.me] = append([]float32{}, x...)
	c.came++
	r.met.Broadcast()
	for c.came < r.n {
		r.met.Wait()
	}
	if c.left++; c.left == r.n {
		delete(r.calls, key)
		r.met.Broadcast()
	}
	return c.give
}

func (r *rank) AllReduce(_ context.Context, group, name string, x []float32) error {
	all := r.exchange(group, name, x)
	clear(x)
	for _, y := range all {
		for i, v := range y {
			x[i] += v
		}
	}
	return nil
}

func (r *rank) AllGather(_ context.Context, group, name string, dst, src []float32) error {
	for i, y := range r.exchange(group, name, src) {
		copy(dst[i*len(src):], y)
	}
	return nil
}

func (r *rank) ReduceScatter(_ context.Context, group, name string, dst, src []float32) error {
	all := r.exchange(group, name, src)
	clear(dst)
	for _, y := range all {
		for i := range dst {
			dst[i] += y[r.me*len(dst)+i]
		}
	}
	return nil
}

func (r *rank) AllToAll(_ context.Context, group, name string, dst, src []float32) error {
	part := len(src) / r.n
	for i, y := range r.exchange(group, name, src) {
		copy(dst[i*part:(i+1)*part], y[r.me*part:])
	}
	return nil
}

func (r *rank) Rotate(_ context.Context, group, name string, dst, src []float32, shift int) error {
	from := ((r.me-shift)%r.n + r.n) % r.n
	copy(dst, r.exchange(group, name, src)[from])
	return nil
}

func (r *rank) channel(from, to, edge int, mb exec.MicroBatch) chan []float32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := fmt.Sprint(from, to, edge, mb.Step, mb.Index)
	if r.sent[key] == nil {
		r.sent[key] = make(chan []float32, 1)
	}
	return r.sent[key]
}

func (r *rank) Send(_ context.Context, stage, edge int, mb exec.MicroBatch, _ string, x []float32) error {
	r.channel(r.me, stage, edge, mb) <- append([]float32{}, x...)
	return nil
}

func (r *rank) Recv(ctx context.Context, stage, edge int, mb exec.MicroBatch, _ string, x []float32) error {
	select {
	case y := <-r.channel(stage, r.me, edge, mb):
		copy(x, y)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
