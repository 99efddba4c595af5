package local

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/program"
)

// Options say what is trained.
type Options struct {
	// Model is that of one micro-batch of all ranks, in float32, with a loss.
	Model *graph.Model
	// Plan says how ranks share it. Nil is one rank, one micro-batch a step.
	Plan *parallel.Plan
	// Seed is that of the first parameters and of dropout.
	Seed uint64
	// NewBackend starts the back end of one rank, which is closed at the end if it
	// has a Close. Nil is [cpu.New] of one thread.
	NewBackend func() (exec.Backend, error)
	Precision  exec.Precision // of products by parameters
	// Disable turns passes of the compiler off, Enable on.
	Disable, Enable []exec.Pass
}

// Trainer is all ranks of a plan, ready to take steps. It is used by one
// goroutine at a time. After an error of a step that is not an [*InputError], no
// more steps can be taken.
type Trainer struct {
	model *graph.Model
	plan  *parallel.Plan
	seed  uint64
	ranks []*rank
	steps int // taken
}

// rank is one rank's share.
type rank struct {
	part      *parallel.Part
	machine   *exec.Machine
	backend   exec.Backend
	transport comm.Transport
	cuts      []cut
}

// New compiles every rank's part, allocates it, and draws the parameters. The
// Trainer is to be closed. Errors are those of [parallel.Plan.Validate], a
// [*parallel.PartitionError], a [*graph.GradientError] or an [*exec.CompileError].
func New(o Options) (_ *Trainer, err error) {
	if o.Model == nil || o.Model.Loss == nil {
		return nil, errors.New("local: needs a model with a loss")
	}
	if n := len(o.Model.Layers); n < 3 {
		return nil, fmt.Errorf("local: the model has %d layers: plans need at least three, the embedding, a block and the head: begin them with graph.Builder.Layer", n)
	}
	t := &Trainer{model: o.Model, plan: o.Plan, seed: o.Seed}
	if t.plan == nil {
		t.plan = parallel.Default()
	}
	if rows := rowsOf(o.Model); rows > 0 {
		if err := t.plan.Validate(parallel.FactsOf(o.Model), t.plan.Mesh().Size(), rows*t.plan.Micro); err != nil {
			return nil, err
		}
	}
	if o.NewBackend == nil {
		o.NewBackend = func() (exec.Backend, error) { return cpu.New(1) }
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	for i, transport := range comm.Local(t.plan.Mesh().Size()) {
		r := &rank{transport: transport}
		t.ranks = append(t.ranks, r)
		if err := r.start(o, t.plan, i); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// rowsOf is the number of sequences of a micro-batch, 0 without inputs per row.
func rowsOf(m *graph.Model) int {
	for _, in := range m.Inputs {
		if t := graph.TypeOf(in.Node); in.PerRow() && t.Dims() > 0 {
			return t.Shape[0]
		}
	}
	return 0
}

// start compiles rank number i, and draws its parameters.
func (r *rank) start(o Options, plan *parallel.Plan, i int) (err error) {
	if r.backend, err = o.NewBackend(); err != nil {
		return err
	}
	compile := program.Options{Precision: string(o.Precision), Disable: o.Disable, Enable: o.Enable}
	part, compiled, err := program.CompileModel(o.Model, compile, plan, i, r.backend)
	if err != nil {
		return err
	}
	r.part = part
	c, err := program.NewComm(r.transport, part)
	if err != nil {
		return err
	}
	if r.machine, err = exec.New(compiled, c); err != nil {
		return err
	}
	if r.cuts, err = cutsOf(o.Model, part); err != nil {
		return err
	}
	for _, p := range r.machine.Params() {
		if err := models.InitShard(p.Shard, o.Seed, p.Value); err != nil {
			return err
		}
	}
	return nil
}

// Close frees the ranks' memory and ends their back ends.
func (t *Trainer) Close() error {
	var errs []error
	for _, r := range t.ranks {
		if r.machine != nil {
			r.machine.Close()
		}
		errs = append(errs, r.transport.Close())
		if b, ok := r.backend.(interface{ Close() }); ok && r.backend != nil {
			b.Close()
		}
	}
	t.ranks = nil
	return errors.Join(errs...)
}

// together runs f for all ranks at once. The first error ends the others.
func (t *Trainer) together(ctx context.Context, f func(ctx context.Context, i int, r *rank) error) error {
	if len(t.ranks) == 0 {
		return errors.New("local: the trainer is closed")
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, r := range t.ranks {
		g.Go(func() error {
			if err := f(ctx, i, r); err != nil {
				return fmt.Errorf("rank %d: %w", i, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// Step takes a training step: the passes of all micro-batches, and the update by
// a, whose Step is set to the number of the step. The loss is that before the
// update.
func (t *Trainer) Step(ctx context.Context, b Batch, a exec.AdamW) (exec.Stats, error) {
	b, err := t.complete(b, true)
	if err != nil {
		return exec.Stats{}, err
	}
	a.Step = t.steps + 1
	all := make([]exec.Stats, len(t.ranks))
	err = t.together(ctx, func(ctx context.Context, i int, r *rank) (err error) {
		feed := func(mb exec.MicroBatch) error {
			r.feed(b, mb)
			return nil
		}
		if err = program.RunPasses(ctx, r.part, r.machine, t.steps, feed, nil); err != nil {
			return err
		}
		all[i], err = r.machine.Update(ctx, a)
		return err
	})
	if err != nil {
		return exec.Stats{}, err
	}
	t.steps++
	return all[0], nil
}

// Loss is the loss of a batch, without dropout. It changes no parameter.
func (t *Trainer) Loss(ctx context.Context, b Batch) (float64, error) {
	b, err := t.complete(b, false)
	if err != nil {
		return 0, err
	}
	losses := make([]float64, len(t.ranks))
	err = t.together(ctx, func(ctx context.Context, i int, r *rank) error {
		for m := range t.plan.Micro {
			mb := exec.MicroBatch{Step: t.steps, Index: m}
			r.feed(b, mb)
			if err := r.machine.Forward(ctx, mb); err != nil {
				return err
			}
			if !program.LossReplica(r.part) {
				losses[i] += float64(r.machine.Loss(0))
			}
		}
		return nil
	})
	var sum float64
	for _, l := range losses {
		sum += l
	}
	return sum, err
}

// Params returns a copy of every parameter, whole, by name, in the shape that
// the graph has: what to save, or to compare.
func (t *Trainer) Params() map[string][]float32 {
	return t.collect(func(p exec.Param) []float32 { return p.Value })
}

// Gradients returns the gradients of the last step, before clipping, as Params
// does.
func (t *Trainer) Gradients() map[string][]float32 {
	return t.collect(func(p exec.Param) []float32 { return p.Grad })
}

// collect joins the ranks' parts.
func (t *Trainer) collect(pick func(exec.Param) []float32) map[string][]float32 {
	whole := map[string][]float32{}
	for _, r := range t.ranks {
		for _, p := range r.machine.Params() {
			if !r.part.Counted[p.Shard] {
				continue
			}
			param := p.Shard.Param
			if whole[param.Name] == nil {
				whole[param.Name] = make([]float32, param.Size())
			}
			runs, err := models.Runs(param.Shape, p.Shard.Parts)
			if err != nil {
				continue // the parameters were drawn by the same parts
			}
			rest := pick(p)
			for from, n := range runs {
				rest = rest[copy(whole[param.Name][from:][:n], rest):]
			}
		}
	}
	return whole
}
