package profile

import (
	"context"
	"fmt"

	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/exec/cpu/probe"
	"github.com/galvani-ml/galvani/graph"
)

// measureDevice measures what a worker computes while all do.
func (s *stand) measureDevice(ctx context.Context, f *found) error {
	if err := s.say("matrix products, attention, memory"); err != nil {
		return err
	}
	for _, z := range s.spec.Shapes {
		if err := s.measureProducts(ctx, z, f); err != nil {
			return err
		}
	}
	if err := s.measureAttention(ctx, f); err != nil {
		return err
	}
	if err := s.measureStream(ctx, f); err != nil {
		return err
	}
	return s.measureLaunch(ctx, f)
}

// measureProducts measures a linear layer and its gradients in both precisions.
func (s *stand) measureProducts(ctx context.Context, z shape, f *found) error {
	var operands probe.Arena
	defer operands.Free()
	for _, p := range probe.Linear(&operands, z.Rows, z.In, z.Out) {
		for _, precision := range []exec.Precision{exec.FP32, exec.BF16} {
			p.Args.BF16 = precision == exec.BF16
			name := fmt.Sprintf("%s of %d x %d x %d", p.Kind, p.Args.M, p.Args.N, p.Args.K)
			t, err := s.measure(ctx, name, func() error { kernel.Gemm(s.pool, p.Args); return nil })
			if err != nil {
				return err
			}
			f.Rates = append(f.Rates, rate{p.Kind, string(precision), p.FLOPs(), t})
		}
	}
	return nil
}

// anyPrecision marks what is the same in all.
const anyPrecision = ""

// measureAttention measures attention and its gradient at the size of GPT-2's.
// They are computed in fp32 whatever the precision of products by parameters.
func (s *stand) measureAttention(ctx context.Context, f *found) error {
	var operands probe.Arena
	defer operands.Free()
	a := probe.NewAttention(&operands, 1, 12, 256, 64)
	for _, part := range []struct {
		kind  string
		flops int64
		run   func(*kernel.Pool)
	}{{"attention", a.ForwardFLOPs(), a.Forward}, {"attention_grad", a.BackwardFLOPs(), a.Backward}} {
		t, err := s.measure(ctx, part.kind, func() error { part.run(s.pool); return nil })
		if err != nil {
			return err
		}
		f.Rates = append(f.Rates, rate{part.kind, anyPrecision, part.flops, t})
	}
	return nil
}

// measureStream measures the bandwidth of memory, by a triad: two vectors are
// read and one is written.
func (s *stand) measureStream(ctx context.Context, f *found) (err error) {
	var operands probe.Arena
	defer operands.Free()
	n := s.spec.Stream
	y, a, b := operands.Floats(n), operands.Floats(n), operands.Floats(n)
	f.Bytes = 3 * 4 * int64(n)
	f.Bandwidth, err = s.measure(ctx, "memory bandwidth", func() error { kernel.Triad(s.pool, y, a, b, 0.5); return nil })
	return err
}

// tinyOperations is how many operations the cost of one is measured on.
const tinyOperations = 256

// measureLaunch measures what an operation costs however little it computes: a
// program of many tiny ones is run.
func (s *stand) measureLaunch(ctx context.Context, f *found) error {
	backend, err := cpu.New(s.spec.Threads)
	if err != nil {
		return err
	}
	defer backend.Close()
	m, err := tinyMachine(backend)
	if err != nil {
		return err
	}
	defer m.Close()
	f.Launch, err = s.measure(ctx, "tiny operations", func() error { return m.Forward(ctx, exec.MicroBatch{Step: 1}) })
	f.Launch.Seconds /= tinyOperations
	return err
}

// tinyMachine runs a chain of activations of 16 elements, each by itself.
func tinyMachine(backend exec.Backend) (*exec.Machine, error) {
	b := graph.NewBuilder(tensor.Float32)
	x := b.Input("x", tensor.Float32, 1, 16)
	b.Layer("chain", "chain", "")
	for i := range tinyOperations {
		x = b.Apply(fmt.Sprint("op", i), graph.Activation{F: graph.SiLU}, x)
	}
	b.Logits(x)
	model, err := b.Model()
	if err != nil {
		return nil, err
	}
	program, err := exec.Compile(graph.Whole(model), backend, exec.Options{Disable: []exec.Pass{exec.Epilogue, exec.Elementwise}})
	if err != nil {
		return nil, err
	}
	return exec.New(program, nil)
}
