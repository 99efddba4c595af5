package bench

import (
	"context"
	"runtime"
	"time"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
)

// galvani trains on Galvani's executor, on the processor.
type galvani struct {
	workload
	backend *timedBackend
	machine *exec.Machine
	probe   *kernel.Pool // for the limit
	step    int
}

func newGalvani(w workload) (Runner, error) {
	model, err := models.Build(w.config(), models.Options{Batch: w.Batch, Seq: w.Seq, Dropout: w.Dropout, Train: true})
	if err != nil {
		return nil, err
	}
	stage := graph.Whole(model)
	if err := stage.Differentiate(); err != nil {
		return nil, err
	}
	backend, err := cpu.New(runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, err
	}
	g := &galvani{workload: w, backend: &timedBackend{Backend: backend}}
	if err := g.initialize(stage); err != nil {
		backend.Close()
		return nil, err
	}
	g.probe = kernel.NewPool(backend.Threads())
	return g, nil
}

// initialize makes the machine, and gives it its parameters and data.
func (g *galvani) initialize(stage *graph.Stage) error {
	program, err := exec.Compile(stage, g.backend, exec.Options{
		Train: true, Precision: exec.Precision(g.Precision), Disable: g.DisablePass, Enable: g.EnablePass,
	})
	if err != nil {
		return err
	}
	if g.machine, err = exec.New(program, nil); err != nil {
		return err
	}
	for _, p := range g.machine.Params() {
		models.InitValue(p.Shard.Param, seed, p.Value)
	}
	tokens, targets := g.data()
	copy(g.machine.Input(0, graph.InputTokens).Ints, tokens)
	copy(g.machine.Input(0, graph.InputTargets).Ints, targets)
	g.machine.Input(0, graph.InputScale).Floats[0] = 1 / float32(len(targets))
	return nil
}

// Planned is what the compiler says that the program takes.
func (g *galvani) Planned() int64 { return g.machine.Program().Memory().Total() }

// Step runs forward, backward and, if asked for, AdamW.
func (g *galvani) Step() (float64, error) {
	g.step++
	if rng := g.machine.Input(0, graph.InputRNG).Ints; rng != nil {
		copy(rng, []int32{seed, 0, int32(g.step), 0, 1})
	}
	ctx, mb := context.Background(), exec.MicroBatch{Step: g.step}
	if err := g.machine.Forward(ctx, mb); err != nil {
		return 0, err
	}
	loss := float64(g.machine.Loss(0))
	if err := g.machine.Backward(ctx, mb, true); err != nil || !g.Update {
		return loss, err
	}
	_, err := g.machine.Update(ctx, exec.AdamW{LR: learningRate, Beta1: beta1, Beta2: beta2, Eps: epsilon, Step: g.step})
	return loss, err
}

// Peak runs multiply-adds in registers for a while. The fastest repetition
// counts, as in [CPU].
func (g *galvani) Peak() (float64, error) {
	const rounds, window = 1 << 18, 30 * time.Millisecond
	var peak float64
	for start := time.Now(); time.Since(start) < window; {
		before := time.Now()
		flops, _, err := kernel.MulAdds(g.probe, kernel.ActiveISA(), rounds, 0.5, 1)
		if err != nil {
			return 0, err
		}
		peak = max(peak, flops/max(time.Since(before), 1).Seconds()/1e9)
	}
	return peak, nil
}

// Profile runs steps.
func (g *galvani) Profile(steps int) ([]KernelTime, error) {
	g.machine.Profile(true)
	defer g.machine.Profile(false)
	g.backend.reset(true)
	defer g.backend.reset(false)
	start := time.Now()
	for range steps {
		if _, err := g.Step(); err != nil {
			return nil, err
		}
	}
	return kernelTimes(g.machine.Times(), g.backend.times(), time.Since(start), steps), nil
}

// Close frees memory and threads.
func (g *galvani) Close() error {
	g.machine.Close()
	g.backend.Close()
	g.probe.Close()
	return nil
}
