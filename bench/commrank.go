package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/galvani-ml/galvani/comm"
)

// commRank is the kind of child that is one rank of the suite comm.
const commRank = "comm"

// rankSetup is what such a child reads first.
type rankSetup struct {
	Server     comm.Endpoint
	Job        comm.Job
	Rank, Size int
	Plane      comm.Plane
	Most       int // elements of a tensor
}

// ranks are the processes of one plane.
type ranks []*process

// openRanks starts them. They meet before it returns.
func openRanks(ctx context.Context, e comm.Endpoint, plane comm.Plane, size, most int) (world, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: finding this program to run its ranks: %w", err)
	}
	var all ranks
	for rank := range size {
		p, err := start(ctx, fmt.Sprintf("rank %d over %s", rank, plane), os.Environ(), defaultTimeout, program, "bench-child", commRank)
		if err != nil {
			return nil, errors.Join(err, all.close())
		}
		all = append(all, p)
	}
	job := comm.NewJob()
	_, err = all.ask(func(rank int) any { return rankSetup{e, job, rank, size, plane, most} })
	if err != nil {
		return nil, errors.Join(err, all.close())
	}
	return all, nil
}

// ask asks all ranks at once, and returns the answer of the first.
func (r ranks) ask(question func(rank int) any) (collectiveReply, error) {
	replies, errs := make([]collectiveReply, len(r)), make([]error, len(r))
	var all sync.WaitGroup
	for rank, p := range r {
		all.Go(func() { errs[rank] = p.ask(question(rank), &replies[rank]) })
	}
	all.Wait()
	return replies[0], errors.Join(errs...)
}

func (r ranks) run(q collective) (collectiveReply, error) {
	return r.ask(func(int) any { return q })
}

func (r ranks) close() error {
	errs := make([]error, len(r))
	var all sync.WaitGroup
	for rank, p := range r {
		all.Go(func() { errs[rank] = p.close() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// serveRank is one rank, until its input ends.
func serveRank(stdin io.Reader, stdout io.Writer) error {
	in, out := json.NewDecoder(stdin), json.NewEncoder(stdout)
	var setup rankSetup
	if err := in.Decode(&setup); err != nil {
		return fmt.Errorf("bench: reading the setup of a rank: %w", err)
	}
	answer := func(r collectiveReply, err error) error {
		if err != nil {
			r = collectiveReply{failure: failure{err.Error()}}
		}
		return errors.Join(err, out.Encode(r))
	}
	ctx := context.Background()
	session, err := comm.Dial(ctx, setup.Server, "bench")
	if err != nil {
		return answer(collectiveReply{}, err)
	}
	defer session.Close()
	t, _, err := comm.Connect(ctx, session, setup.Job, setup.Rank, setup.Size, comm.TransportOptions{Plane: setup.Plane})
	if err != nil {
		return answer(collectiveReply{}, err)
	}
	defer t.Close()
	var members []int
	for r := range setup.Size {
		members = append(members, r)
	}
	memory := comm.Alloc(t, setup.Most)
	group, err := comm.NewGroup(t, 0, members)
	if err := answer(collectiveReply{}, err); err != nil {
		return err
	}
	for {
		var q collective
		switch err := in.Decode(&q); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("bench: reading a request: %w", err)
		}
		if err := answer(measureCollective(ctx, group, q, memory)); err != nil {
			return err
		}
	}
}

// measureCollective times calls, after one whose result it checks.
func measureCollective(ctx context.Context, g *comm.Group, q collective, memory []float32) (collectiveReply, error) {
	lo, hi := comm.Shard(q.Elements, g.Size(), g.Rank())
	if q.Elements > len(memory) {
		return collectiveReply{}, fmt.Errorf("bench: a tensor of %d elements, of at most %d", q.Elements, len(memory))
	}
	x := memory[:q.Elements]
	for i := range x {
		x[i] = 1
	}
	want, result := float32(g.Size()), x
	call := func() error { return g.AllReduce(ctx, q.Op, x) }
	switch q.Op {
	case opAllGather:
		want = 1
		call = func() error { return g.AllGather(ctx, q.Op, x, x[lo:hi]) }
	case opReduceScatter:
		result = make([]float32, hi-lo)
		call = func() error { return g.ReduceScatter(ctx, q.Op, result, x) }
	}
	if err := call(); err != nil {
		return collectiveReply{}, err
	}
	if first, last := result[0], result[len(result)-1]; first != want || last != want {
		return collectiveReply{}, fmt.Errorf("bench: %s of ones on %d ranks gives %g and %g", q.Op, g.Size(), first, last)
	}
	clear(x) // sums stay finite
	var r collectiveReply
	if err := g.Barrier(ctx, "start"); err != nil {
		return r, err
	}
	for range q.Repetitions {
		start := time.Now()
		if err := call(); err != nil {
			return r, err
		}
		r.Seconds = append(r.Seconds, time.Since(start).Seconds())
	}
	return r, g.Barrier(ctx, "end")
}
