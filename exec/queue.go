package exec

import (
	"context"
	"errors"
	"reflect"
)

// queue runs exchanges beside the computation, in the order in which they were
// started. The ranks of a group start theirs in the same order, so they meet.
// Between two passes it is empty, but for sums of gradients.
type queue struct {
	m       *Machine
	jobs    chan job
	results chan result // in the order of jobs
	issued  uint64      // jobs started
	done    uint64      // results taken
	tickets []uint64    // of each exchange, the number of its last job

	// Jobs run under a context that also ends when the machine gives up or is
	// closed. It is made anew where the caller's is another than before.
	parent context.Context
	ctx    context.Context
	cancel context.CancelFunc
	old    []context.CancelFunc // of contexts that jobs under way may have
	again  bool                 // the next job is the first after an abort
}

// job is an instruction to run, or a bucket to sum over groups.
type job struct {
	ctx    context.Context
	run    *instruction
	args   *Args
	bucket *bucket
	groups []string
	mb     MicroBatch
	again  bool // failures before it do not count
}

type result struct {
	job
	err error
}

// errAfter is the result of jobs after one that failed.
var errAfter = errors.New("an exchange before it failed")

// newQueue starts the goroutine that runs jobs; at most limit are under way.
func newQueue(m *Machine, limit int) *queue {
	q := &queue{m: m, jobs: make(chan job, limit), results: make(chan result, limit), tickets: make([]uint64, m.program.exchanges)}
	go q.loop()
	return q
}

func (q *queue) loop() {
	defer close(q.results)
	failed := false
	for j := range q.jobs {
		failed = failed && !j.again
		err := errAfter
		if !failed {
			err = q.do(&j)
		}
		failed = err != nil
		q.results <- result{j, err}
	}
}

func (q *queue) do(j *job) error {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	q.m.exchanging.enter(j.mb)
	defer q.m.exchanging.at.Store(nil)
	if j.bucket != nil {
		q.m.exchanging.at.Store(&j.bucket.at)
		return q.m.sumBucket(j.ctx, j.bucket, j.groups)
	}
	q.m.exchanging.at.Store(&j.run.at)
	return j.run.exchange(j.ctx, q.m.comm, j.mb, j.run.name, j.args)
}

// put starts a job and returns its number.
func (q *queue) put(ctx context.Context, j job) uint64 {
	if q.ctx == nil || !same(q.parent, ctx) {
		if q.cancel != nil {
			q.old = append(q.old, q.cancel)
		}
		q.parent = ctx
		q.ctx, q.cancel = context.WithCancel(ctx)
	}
	j.ctx, j.again, q.again = q.ctx, q.again, false
	q.issued++
	q.jobs <- j
	return q.issued
}

// same reports whether two contexts are one.
func same(a, b context.Context) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.TypeOf(a).Comparable() && a == b
}

// take waits for the next result. If ctx ends, so do all jobs.
func (q *queue) take(ctx context.Context) result {
	var r result
	select {
	case r = <-q.results:
	case <-ctx.Done():
		q.cancelAll()
		r = <-q.results
	}
	q.done++
	if q.idle() {
		q.cancelOld()
	}
	return r
}

func (q *queue) cancelOld() {
	for _, cancel := range q.old {
		cancel()
	}
	q.old = q.old[:0]
}

// idle reports whether nothing is under way.
func (q *queue) idle() bool { return q.issued == q.done }

// abort ends all that is under way and waits until it has ended.
func (q *queue) abort() {
	q.cancelAll()
	for !q.idle() {
		q.take(context.Background())
	}
	q.again = true
}

func (q *queue) cancelAll() {
	if q.cancel != nil {
		q.cancel()
	}
	q.ctx, q.cancel, q.parent = nil, nil, nil
	q.cancelOld()
}

// close is abort, and ends the goroutine.
func (q *queue) close() {
	q.cancelAll()
	close(q.jobs)
	for range q.results {
	}
}
