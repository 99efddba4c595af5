package program_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/train/program"
)

func oneThread() (exec.Backend, error) { return cpu.New(1) }

// TestMeasure has all layers and the update take time, under strategies with every
// kind of exchange, which are answered on the spot.
func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		model  models.Config
		plan   string
		copies int
	}{
		{gpt(true), "dp=1", 2},
		{gpt(true), "dp=2 tp=2 sequence_parallel=on zero=3 ckpt=all", 1},
		{gpt(false), "dp=2 cp=2 zero=2", 1},
		{bert(), "sp=2 tp=2", 1},
	} {
		o := optionsOf(c.model)
		o.Dropout, o.Precision = 0.1, "bf16"
		s := strategy(t, c.plan)
		l, err := program.Measure(t.Context(), o, s, 2*s.DP, c.copies, oneThread)
		if err != nil {
			t.Fatalf("%s: %v", c.plan, err)
		}
		for name, p := range map[string]program.PassSeconds{"embedding": l.Embedding, "block": l.Block, "head": l.Head} {
			if p.Forward <= 0 || p.Backward <= 0 {
				t.Errorf("%s: %s: %+v", c.plan, name, p)
			}
		}
		if l.Update <= 0 || l.Steps < 3*c.copies {
			t.Errorf("%s: %+v", c.plan, l)
		}
	}
}

func TestMeasureErrors(t *testing.T) {
	o, s := optionsOf(gpt(true)), strategy(t, "dp=2")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := program.Measure(ctx, o, s, 2, 2, oneThread); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context gives %v", err)
	}
	if _, err := program.Measure(t.Context(), o, s, 2, 0, oneThread); err == nil || !strings.Contains(err.Error(), "at least 1") {
		t.Errorf("no copies give %v", err)
	}
	if _, err := program.Measure(t.Context(), o, s, 3, 1, oneThread); err == nil {
		t.Error("3 rows are measured on 2 ranks")
	}
	broken := errors.New("broken")
	if _, err := program.Measure(t.Context(), o, s, 2, 1, func() (exec.Backend, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("a back end that does not start gives %v", err)
	}
}

// TestLoopback fills all of every tensor.
func TestLoopback(t *testing.T) {
	ctx, l, src := t.Context(), program.Loopback{}, []float32{1, 2}
	dst := make([]float32, 6)
	if err := l.AllGather(ctx, "dp", "x", dst, src); err != nil || !slices.Equal(dst, []float32{1, 2, 1, 2, 1, 2}) {
		t.Errorf("gathered %v, %v", dst, err)
	}
	if err := l.ReduceScatter(ctx, "dp", "x", src, dst[3:]); err != nil || !slices.Equal(src, []float32{2, 1}) {
		t.Errorf("scattered %v, %v", src, err)
	}
	if err := errors.Join(l.AllToAll(ctx, "sp", "x", dst[:2], src), l.Rotate(ctx, "cp", "x", dst[2:4], src, 1)); err != nil || !slices.Equal(dst[:4], []float32{2, 1, 2, 1}) {
		t.Errorf("exchanged %v, %v", dst, err)
	}
	if err := l.Recv(ctx, 1, 0, exec.MicroBatch{}, "x", dst); err != nil || slices.Contains(dst, 0) || slices.Max(dst) > 1 || slices.Min(dst) < -1 {
		t.Errorf("received %v, %v", dst, err)
	}
	if err := errors.Join(l.AllReduce(ctx, "dp", "x", dst), l.Send(ctx, 1, 0, exec.MicroBatch{}, "x", dst)); err != nil {
		t.Error(err)
	}
}
