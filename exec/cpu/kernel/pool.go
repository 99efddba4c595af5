package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// spinLimit is how long an idle worker, or a caller that waits for one, spins
// before it gives its processor away. A parked worker takes some 5 to 100 us
// to wake, a spinning one 100 ns.
const spinLimit = 100 * time.Microsecond

// A Pool is a set of workers, of which the caller of a kernel is one, and their
// scratch memory. It runs one kernel at a time: calls from several goroutines
// must not overlap, and a function given to For must not call the Pool.
type Pool struct {
	workers []worker
	scratch scratch
	tasks   tasks

	// The job: set by the caller while no worker is inside it.
	task     task
	n, grain int

	_     [64]byte
	next  atomic.Int64 // first index nobody has claimed
	_     [56]byte
	state atomic.Uint64 // epoch<<17 | open<<16 | workers inside
	_     [56]byte

	spin   time.Duration // how long an idle worker spins
	closed atomic.Bool
	exits  sync.WaitGroup
}

const (
	poolOpen  = 1 << 16
	poolEpoch = 1 << 17
	poolCount = poolOpen - 1
)

type worker struct {
	parked atomic.Bool
	wake   chan struct{}
	_      [48]byte
}

// task is one parallel loop: run does the indices from lo up to hi.
type task interface {
	run(worker, lo, hi int)
}

// NewPool starts a pool of threads workers, the caller counted, with
// [ScratchFloats] elements of scratch memory. Fewer than 1 means one for each
// processor. A pool of one runs everything in the caller.
func NewPool(threads int) *Pool {
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{workers: make([]worker, threads), scratch: newScratch(threads), spin: spinLimit}
	if threads > runtime.GOMAXPROCS(0) {
		p.spin = 0 // a spinning worker would keep another from working
	}
	for w := 1; w < threads; w++ {
		p.workers[w].wake = make(chan struct{}, 1)
		p.exits.Go(func() { p.loop(w) })
	}
	return p
}

// Threads is the number of workers, the caller counted.
func (p *Pool) Threads() int { return len(p.workers) }

// Close ends the workers and frees the scratch memory. The Pool must be idle.
func (p *Pool) Close() {
	if p.closed.Swap(true) {
		return
	}
	p.wakeAll()
	p.exits.Wait()
	p.scratch.free()
}

// For calls f(i) for each i in [0, n), in any order and in parallel. Workers
// claim one index at a time. A closure made for the call costs its allocation.
func (p *Pool) For(n int, f func(i int)) {
	p.tasks.each.f = f
	p.run(n, 1, &p.tasks.each)
	p.tasks.each.f = nil
}

// ForRange calls f for consecutive ranges [lo, hi) that together cover [0, n),
// each of at most grain indices, in any order and in parallel.
func (p *Pool) ForRange(n, grain int, f func(lo, hi int)) {
	p.tasks.ranges.f = f
	p.run(n, max(grain, 1), &p.tasks.ranges)
	p.tasks.ranges.f = nil
}

type eachTask struct{ f func(i int) }

func (t *eachTask) run(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.f(i)
	}
}

type rangeTask struct{ f func(lo, hi int) }

func (t *rangeTask) run(_, lo, hi int) { t.f(lo, hi) }

// run divides [0, n) into ranges of grain that workers claim as they go, so a
// worker whose processor is busy with something else simply does less. A
// worker that has not joined when all is claimed is not waited for.
func (p *Pool) run(n, grain int, t task) {
	if len(p.workers) == 1 || n <= grain {
		for lo := 0; lo < n; lo += grain {
			t.run(0, lo, min(lo+grain, n))
		}
		return
	}
	p.task, p.n, p.grain = t, n, grain
	p.next.Store(0)
	p.state.Add(poolEpoch + poolOpen)
	p.wakeAll()
	p.claim(0)
	p.state.Add(^uint64(poolOpen - 1)) // minus poolOpen
	p.await()
}

func (p *Pool) claim(w int) {
	t, n, grain := p.task, p.n, p.grain
	for {
		lo := int(p.next.Add(int64(grain))) - grain
		if lo >= n {
			return
		}
		t.run(w, lo, min(lo+grain, n))
	}
}

// await returns when no worker is inside the job.
func (p *Pool) await() {
	for i := 0; p.state.Load()&poolCount != 0; i++ {
		pause(4)
		if i > 4096 {
			runtime.Gosched()
		}
	}
}

func (p *Pool) wakeAll() {
	for i := 1; i < len(p.workers); i++ {
		w := &p.workers[i]
		if w.parked.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
}

// loop joins each job once until the pool closes.
func (p *Pool) loop(w int) {
	for seen := uint64(0); !p.closed.Load(); {
		s := p.state.Load()
		if s&poolOpen == 0 || s/poolEpoch == seen {
			p.idle(w, seen)
			continue
		}
		if p.state.CompareAndSwap(s, s+1) {
			seen = s / poolEpoch
			p.claim(w)
			p.state.Add(^uint64(0))
		}
	}
}

// idle returns when there is a job other than the last one seen, or when the
// pool closes: it spins, then parks.
func (p *Pool) idle(w int, seen uint64) {
	ready := func() bool {
		s := p.state.Load()
		return s&poolOpen != 0 && s/poolEpoch != seen || p.closed.Load()
	}
	start := time.Now()
	for i := 1; ; i++ {
		if ready() {
			return
		}
		pause(4)
		if i%16 == 0 && time.Since(start) > p.spin {
			break
		}
	}
	self := &p.workers[w]
	self.parked.Store(true)
	if ready() && self.parked.CompareAndSwap(true, false) {
		return
	}
	<-self.wake
}
