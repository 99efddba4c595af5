package exec

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/galvani-ml/galvani/internal/exactsum"
)

// AdamW holds the hyper-parameters of one step: Loshchilov and Hutter, Decoupled
// Weight Decay Regularization (2019), as torch.optim.AdamW computes it.
type AdamW struct {
	LR, Beta1, Beta2, Eps float64
	WeightDecay           float64 // of parameters that decay, see graph.Param.Decays
	Clip                  float64 // largest norm of the gradient; 0 for any
	Step                  int     // 1 for the first
}

// Stats is what a step reports.
type Stats struct {
	Loss     float64 // of the whole batch
	GradNorm float64 // of all gradients, before clipping, rounded to a float32
}

// clipEps keeps the quotient finite, as in torch.nn.utils.clip_grad_norm_.
const clipEps = 1e-6

// messageSize is the length of the message that all ranks add up: the sum of
// squares and the loss.
const messageSize = 2 * exactsum.Size

// Update ends a step: it runs what the step's gradients together need once, sums
// the gradients over the ranks, clips them by their
// norm, and updates the parameters. A gradient that is not finite gives a
// [*NonFiniteError] on every rank and changes no parameter.
func (m *Machine) Update(ctx context.Context, a AdamW) (Stats, error) {
	if !m.program.opts.Train {
		return Stats{}, fmt.Errorf("exec: the program has no gradients: compile it with Options.Train")
	}
	err := m.run(ctx, m.epilogue, m.last, true)
	if err == nil {
		err = m.sumGradients(ctx)
	}
	if err = m.finish(ctx, err); err != nil {
		return Stats{}, err
	}
	defer m.computing.at.Store(nil)
	m.computing.at.Store(&atNorm)
	squares, loss, err := m.totals(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("exec: step %d: summing the gradient's norm: %w", a.Step, err)
	}
	// Shards that are cut otherwise add up their squares in another order. What
	// that changes is rounded away, so it does not reach the parameters.
	stats := Stats{Loss: loss, GradNorm: float64(float32(math.Sqrt(squares)))}
	if math.IsNaN(squares) || math.IsInf(squares, 0) {
		return stats, &NonFiniteError{Step: a.Step, Param: m.firstNonFinite(), Loss: loss}
	}
	scale := 1.0
	if a.Clip > 0 {
		scale = min(1, a.Clip/(stats.GradNorm+clipEps))
	}
	m.changes++
	m.computing.at.Store(&atUpdate)
	for i, s := range m.program.shards {
		m.program.backend.AdamW(Param{
			Shard: s.Shard, Value: m.weights[i], Grad: m.part(regionGrads, s),
			M: m.part(regionFirst, s), V: m.part(regionSecond, s),
		}, a, scale, s.Param.Decays())
	}
	return stats, nil
}

// sumGradients sums each bucket over its groups, or starts to where that has not
// begun.
func (m *Machine) sumGradients(ctx context.Context) error {
	for _, b := range m.program.buckets {
		groups := b.groups
		if m.reducing {
			groups = groups[b.early:]
		}
		if m.queue != nil {
			m.startBucket(ctx, b, groups)
			continue
		}
		start := time.Now()
		err := m.sumBucket(ctx, b, groups)
		m.summed(groups, time.Since(start))
		if err != nil {
			return bucketFailure(b, m.last, err)
		}
	}
	return nil
}

// sumBucket sums a bucket over groups.
func (m *Machine) sumBucket(ctx context.Context, b *bucket, groups []string) error {
	grads := m.region(regionGrads, 0)
	for _, group := range groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.comm.AllReduce(ctx, group, b.name, grads[b.from:b.to]); err != nil {
			return err
		}
	}
	return nil
}

func bucketFailure(b *bucket, mb MicroBatch, err error) error {
	return &RunError{MicroBatch: mb, Tag: b.at.tag, Kind: b.at.kind, Err: err}
}

// totals sums the squares of all gradients, and the losses, over all ranks. The
// sums of the shards are added up exactly, so it does not matter which rank has
// which.
func (m *Machine) totals(ctx context.Context) (squares, loss float64, err error) {
	p := m.program
	var ofSquares, ofLosses exactsum.Sum
	for _, s := range p.shards {
		if p.opts.Counted == nil || p.opts.Counted(s.Shard) {
			ofSquares.Add(p.backend.SumSquares(m.part(regionGrads, s)))
		}
	}
	if !p.opts.LossReplica {
		ofLosses.Add(m.sumLoss)
	}
	if m.comm == nil {
		return ofSquares.Value(), ofLosses.Value(), nil
	}
	ofSquares.Put(m.message[:exactsum.Size])
	ofLosses.Put(m.message[exactsum.Size:])
	start := time.Now()
	err = m.comm.AllReduce(ctx, GroupWorld, "gradient norm and loss", m.message)
	took := time.Since(start)
	m.waited.Collectives, m.waited.Across = m.waited.Collectives+took, m.waited.Across+took
	if err != nil {
		return 0, 0, err
	}
	ofSquares.Take(m.message[:exactsum.Size])
	ofLosses.Take(m.message[exactsum.Size:])
	return ofSquares.Value(), ofLosses.Value(), nil
}

// firstNonFinite names the first parameter whose gradient is not finite, empty
// if there is none on this rank.
func (m *Machine) firstNonFinite() string {
	for _, s := range m.program.shards {
		for _, g := range m.part(regionGrads, s) {
			if math.IsNaN(float64(g)) || math.IsInf(float64(g), 0) {
				return s.Param.Name
			}
		}
	}
	return ""
}
