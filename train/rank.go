package train

import (
	"context"
	"fmt"

	"github.com/galvani-ml/galvani/data"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/internal/exactsum"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/program"
)

// rank is one worker's share of a run, ready to take steps.
type rank struct {
	spec    *Spec
	number  int
	part    *parallel.Part
	machine *exec.Machine
	comm    exec.Comm
	data    *data.Dataset
	feeder  *feeder
	peak    int64

	whole    []*graph.Param // of the model; nil until a snapshot needs them
	recorder *recorder      // nil where this rank records no step
}

// newRank allocates the memory of a compiled part and fills its parameters.
func newRank(ctx context.Context, spec *Spec, number int, part *parallel.Part, program *exec.Program, c exec.Comm) (_ *rank, err error) {
	r := &rank{spec: spec, number: number, part: part, comm: c}
	if r.data, err = data.Open(ctx, spec.Data); err != nil {
		return nil, err
	}
	if r.recorder = newRecorder(spec, number, c); r.recorder != nil {
		c = r.recorder
	}
	if r.machine, err = exec.New(program, c); err != nil {
		r.data.Close()
		return nil, err
	}
	if r.feeder, err = newFeeder(part, spec.Config.Seq); err != nil {
		r.close()
		return nil, err
	}
	if err := r.fillParams(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *rank) close() {
	r.machine.Close()
	r.data.Close()
}

// fillParams draws or loads the parameters, and loads the moments.
func (r *rank) fillParams() error {
	if r.spec.FromSnapshot != "" {
		return r.loadSnapshot(r.spec.FromSnapshot)
	}
	if r.spec.Weights == "" {
		for _, p := range r.machine.Params() {
			if err := models.InitShard(p.Shard, r.spec.Config.Seed, p.Value); err != nil {
				return err
			}
		}
		return nil
	}
	dir, err := hf.Open(r.spec.Weights)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, p := range r.machine.Params() {
		if err := dir.LoadShard(p.Shard.Param.Name, p.Shard, p.Value); err != nil {
			return err
		}
	}
	if !r.spec.Moments {
		return nil
	}
	return loadMoments(r.spec.Weights, r.machine.Params())
}

// step takes a step, counted from 0, and records it where that is asked for.
func (r *rank) step(ctx context.Context, step int) (exec.Stats, error) {
	feed := func(mb exec.MicroBatch) error {
		_, err := r.feeder.feed(r.machine, r.data.Fill, step, mb, r.spec.Config.Seed, true)
		return err
	}
	if r.recorder.wants(step) {
		return r.recorder.record(ctx, r, step, feed)
	}
	return r.take(ctx, step, feed)
}

// take runs the schedule and the update of a step, counted from 0. feed writes
// the inputs of a micro-batch to its slot.
func (r *rank) take(ctx context.Context, step int, feed func(exec.MicroBatch) error) (exec.Stats, error) {
	watch := func() { r.peak = max(r.peak, residentBytes()+4*int64(r.machine.Shared())) }
	if err := program.RunPasses(ctx, r.part, r.machine, step, feed, watch); err != nil {
		return exec.Stats{}, err
	}
	c := r.spec.Config
	stats, err := r.machine.Update(ctx, exec.AdamW{
		LR: c.learningRate(step), Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps,
		WeightDecay: c.WeightDecay, Clip: c.Clip, Step: step + 1,
	})
	watch()
	return stats, err
}

// evaluate returns the mean loss over the validation batches, on every rank.
func (r *rank) evaluate(ctx context.Context, step int) (float64, error) {
	var losses, counts exactsum.Sum
	batches := r.data.ValBatches()
	for i := range batches {
		for m := range r.spec.Plan.Micro {
			mb := exec.MicroBatch{Step: step, Index: m}
			count, err := r.feeder.feed(r.machine, r.data.FillVal, i, mb, r.spec.Config.Seed, false)
			if err != nil {
				return 0, err
			}
			if err := r.machine.Forward(ctx, mb); err != nil {
				return 0, err
			}
			// Losses are means over the batch; the mean over all targets weighs
			// them by their number.
			if !program.LossReplica(r.part) {
				losses.Add(float64(r.machine.Loss(0)) * float64(count))
			}
			if m == 0 && r.number == 0 {
				counts.Add(float64(count))
			}
		}
	}
	message := make([]float32, 2*exactsum.Size)
	losses.Put(message[:exactsum.Size])
	counts.Put(message[exactsum.Size:])
	if err := r.comm.AllReduce(ctx, exec.GroupWorld, fmt.Sprintf("validation loss after step %d", step), message); err != nil {
		return 0, err
	}
	losses.Take(message[:exactsum.Size])
	counts.Take(message[exactsum.Size:])
	return losses.Value() / counts.Value(), nil
}

// agree reports whether any rank wants to stop, the same on every rank.
func (r *rank) agree(ctx context.Context, stop bool) (bool, error) {
	votes := []float32{float32(asInt(stop))}
	err := r.comm.AllReduce(ctx, exec.GroupWorld, "vote to stop", votes)
	return votes[0] > 0, err
}
