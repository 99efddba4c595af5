package program

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
)

// LayerSeconds is how long a rank computes for a micro-batch. Exchanges are not
// counted.
type LayerSeconds struct {
	Embedding, Block, Head PassSeconds
	// Update is the time of the optimizer for each element of the parameters that
	// a rank holds.
	Update float64
	// Steps is how many steps of all copies the medians are of.
	Steps int
}

// PassSeconds is the time of both passes. What is computed again for the
// backward pass belongs to it.
type PassSeconds struct{ Forward, Backward float64 }

// A measurement takes at least leastSteps, and goes on for leastTime; after
// mostTime it ends with the step.
const (
	leastSteps = 3
	leastTime  = 200 * time.Millisecond
	mostTime   = 2 * time.Second
)

// measuredBlocks is how many blocks the model that is measured has.
const measuredBlocks = 2

// Measure runs the program of a stage's first rank on copies machines at the same
// time, each on a back end of its own with so many threads, as workers do that
// share a host: they contend for memory and caches. The model has few blocks, all
// layers are on one stage, and exchanges are answered by [Loopback]. The
// micro-batch has so many rows over all ranks; the batch of o does not count.
// newBackend starts a back end, which is closed at the end if it has a Close.
//
// Times are medians over the steps of all copies. The memory is that of the
// few-block model, once a copy.
func Measure(ctx context.Context, o Options, strategy parallel.Strategy, rows, copies int, newBackend func() (exec.Backend, error)) (*LayerSeconds, error) {
	if copies < 1 {
		return nil, fmt.Errorf("program: measuring %d copies: need at least 1", copies)
	}
	o.Disable = append(slices.Clone(o.Disable), exec.Overlap) // exchanges take no time of a thread beside
	m := measurement{all: make([]*subject, copies)}
	defer m.close()
	for i := range m.all {
		var err error
		if m.all[i], err = newSubject(o, strategy, rows, newBackend); err != nil {
			return nil, err
		}
	}
	if err := m.run(ctx); err != nil {
		return nil, err
	}
	return m.seconds(), nil
}

// measurement is several subjects that run at the same time.
type measurement struct{ all []*subject }

func (m *measurement) close() {
	for _, s := range m.all {
		if s != nil {
			s.close()
		}
	}
}

// run warms all subjects up, then has them take steps until all have taken
// enough: none is ever alone.
func (m *measurement) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(m.all))
	var warm, done sync.WaitGroup
	var missing atomic.Int64 // steps, of all
	missing.Store(int64(leastSteps * len(m.all)))
	warm.Add(len(m.all))
	for i, s := range m.all {
		done.Go(func() {
			_, err := s.step(ctx)
			warm.Done()
			warm.Wait()
			start := time.Now()
			for n := 0; err == nil; n++ {
				if took := time.Since(start); n > 0 && (took > mostTime || took > leastTime && missing.Load() <= 0) {
					return
				}
				var one LayerSeconds
				if one, err = s.step(ctx); err == nil {
					s.steps = append(s.steps, one)
				}
				if n < leastSteps {
					missing.Add(-1)
				}
			}
			errs[i] = err
			cancel()
		})
	}
	done.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err // that which ended the others
		}
	}
	return errors.Join(errs...)
}

// seconds is the median of each time.
func (m *measurement) seconds() *LayerSeconds {
	var steps []LayerSeconds
	for _, s := range m.all {
		steps = append(steps, s.steps...)
	}
	median := func(of func(*LayerSeconds) *float64) float64 {
		var all []float64
		for i := range steps {
			all = append(all, *of(&steps[i]))
		}
		slices.Sort(all)
		return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
	}
	r := &LayerSeconds{Steps: len(steps)}
	for _, of := range []func(*LayerSeconds) *float64{
		func(l *LayerSeconds) *float64 { return &l.Embedding.Forward },
		func(l *LayerSeconds) *float64 { return &l.Embedding.Backward },
		func(l *LayerSeconds) *float64 { return &l.Block.Forward },
		func(l *LayerSeconds) *float64 { return &l.Block.Backward },
		func(l *LayerSeconds) *float64 { return &l.Head.Forward },
		func(l *LayerSeconds) *float64 { return &l.Head.Backward },
		func(l *LayerSeconds) *float64 { return &l.Update },
	} {
		*of(r) = median(of)
	}
	return r
}

// subject is a machine that is measured.
type subject struct {
	backend exec.Backend
	machine *exec.Machine
	params  int // elements
	number  int // of steps
	steps   []LayerSeconds
}

// newSubject allocates a machine and fills its parameters and inputs.
func newSubject(o Options, strategy parallel.Strategy, rows int, newBackend func() (exec.Backend, error)) (_ *subject, err error) {
	s := &subject{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.backend, err = newBackend(); err != nil {
		return nil, err
	}
	_, compiled, err := compileFew(o, strategy, []int{measuredBlocks}, 0, rows, s.backend)
	if err != nil {
		return nil, err
	}
	if s.machine, err = exec.New(compiled, Loopback{}); err != nil {
		return nil, err
	}
	for _, p := range s.machine.Params() {
		scatter(p.Value, p.Shard.Param.Init.Mean, p.Shard.Param.Init.Std)
		s.params += len(p.Value)
	}
	s.fillInputs(o.Model.Vocab(), rows*o.Seq)
	return s, nil
}

// fillInputs draws tokens and targets of a vocabulary. The whole micro-batch has
// so many.
func (s *subject) fillInputs(vocab, tokens int) {
	for n, name := range []string{graph.InputTokens, graph.InputTargets} {
		random := uint32(n + 1)
		for i := range s.machine.Input(0, name).Ints {
			random = random*1664525 + 1013904223
			s.machine.Input(0, name).Ints[i] = int32(uint64(random) * uint64(vocab) >> 32)
		}
	}
	if in := s.machine.Input(0, graph.InputScale); in.Floats != nil {
		in.Floats[0] = 1 / float32(tokens)
	}
	if in := s.machine.Input(0, graph.InputRNG); in.Ints != nil {
		copy(in.Ints, []int32{1, 0, 0, 0, 1}) // seed, step, row, and that it drops
	}
}

// step takes a step of one micro-batch.
func (s *subject) step(ctx context.Context) (LayerSeconds, error) {
	s.machine.Profile(true)
	s.number++
	err := s.machine.Forward(ctx, exec.MicroBatch{Step: s.number})
	if err == nil {
		err = s.machine.Backward(ctx, exec.MicroBatch{Step: s.number}, true)
	}
	if err != nil {
		return LayerSeconds{}, err
	}
	var l LayerSeconds
	for _, t := range s.machine.LayerTimes() {
		if !t.Once {
			l.add(t)
		}
	}
	waited, start := s.machine.Waited(), time.Now()
	_, err = s.machine.Update(ctx, exec.AdamW{LR: 1e-5, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Clip: 1, Step: s.number})
	l.Update = (time.Since(start) - s.machine.Waited().Sub(waited).Total()).Seconds() / float64(s.params)
	return l, err
}

// add adds the time of a layer in a pass.
func (l *LayerSeconds) add(t exec.LayerTime) {
	of, seconds := &l.Block, t.Time.Seconds()/measuredBlocks
	switch t.Layer {
	case 0:
		of, seconds = &l.Embedding, t.Time.Seconds()
	case measuredBlocks + 1:
		of, seconds = &l.Head, t.Time.Seconds()
	}
	if t.Pass == graph.Backward {
		of.Backward += seconds
	} else {
		of.Forward += seconds
	}
}

func (s *subject) close() {
	if s.machine != nil {
		s.machine.Close()
	}
	if b, ok := s.backend.(interface{ Close() }); ok && s.backend != nil {
		b.Close()
	}
}
