package exectest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/galvani-ml/galvani/exec"
)

// Ranks joins n ranks within the process. Every group is all of them, except
// those that Split makes.
type Ranks struct {
	n      int
	mu     sync.Mutex
	met    *sync.Cond
	calls  map[string]*call
	sent   map[string]chan []float32
	groups map[string][][]int
}

type call struct {
	give       [][]float32
	came, left int
}

// NewRanks returns a meeting place of n ranks.
func NewRanks(n int) *Ranks {
	r := &Ranks{n: n, calls: map[string]*call{}, sent: map[string]chan []float32{}, groups: map[string][][]int{}}
	r.met = sync.NewCond(&r.mu)
	return r
}

// Split makes name the name of several groups. It is called before the ranks
// run.
func (r *Ranks) Split(name string, groups ...[]int) { r.groups[name] = groups }

// Rank returns rank i's side, which is also pipeline stage i.
func (r *Ranks) Rank(i int) exec.Comm { return &rank{Ranks: r, me: i} }

type rank struct {
	*Ranks
	me int
}

// index is the rank's place in a group, key what tells the group from others of
// its name.
func (r *rank) index(group string) (key string, index, size int) {
	for _, members := range r.groups[group] {
		if i := slices.Index(members, r.me); i >= 0 {
			return fmt.Sprint(group, members), i, len(members)
		}
	}
	return group, r.me, r.n
}

// exchange gives every rank copies of what all brought.
func (r *rank) exchange(ctx context.Context, group, name string, x []float32) (all [][]float32, index int, err error) {
	key, index, size := r.index(group)
	key += "/" + name
	r.mu.Lock()
	defer r.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.met.Broadcast()
	})
	defer stop()
	c := r.calls[key]
	for c != nil && c.came == size { // an earlier call that some have not left
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		r.met.Wait()
		c = r.calls[key]
	}
	if c == nil {
		c = &call{give: make([][]float32, size)}
		r.calls[key] = c
	}
	c.give[index] = append([]float32{}, x...)
	c.came++
	r.met.Broadcast()
	for c.came < size {
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		r.met.Wait()
	}
	if c.left++; c.left == size {
		delete(r.calls, key)
		r.met.Broadcast()
	}
	return c.give, index, nil
}

func (r *rank) AllReduce(ctx context.Context, group, name string, x []float32) error {
	all, _, err := r.exchange(ctx, group, name, x)
	if err != nil {
		return err
	}
	clear(x)
	for _, y := range all {
		for i, v := range y {
			x[i] += v
		}
	}
	return nil
}

func (r *rank) AllGather(ctx context.Context, group, name string, dst, src []float32) error {
	all, _, err := r.exchange(ctx, group, name, src)
	for i, y := range all {
		copy(dst[i*len(src):], y)
	}
	return err
}

func (r *rank) ReduceScatter(ctx context.Context, group, name string, dst, src []float32) error {
	all, index, err := r.exchange(ctx, group, name, src)
	if err != nil {
		return err
	}
	clear(dst)
	for _, y := range all {
		for i := range dst {
			dst[i] += y[index*len(dst)+i]
		}
	}
	return nil
}

func (r *rank) AllToAll(ctx context.Context, group, name string, dst, src []float32) error {
	all, index, err := r.exchange(ctx, group, name, src)
	for i, y := range all {
		part := len(src) / len(all)
		copy(dst[i*part:(i+1)*part], y[index*part:])
	}
	return err
}

func (r *rank) Rotate(ctx context.Context, group, name string, dst, src []float32, shift int) error {
	all, index, err := r.exchange(ctx, group, name, src)
	if err != nil {
		return err
	}
	n := len(all)
	copy(dst, all[((index-shift)%n+n)%n])
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
