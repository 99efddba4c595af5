package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu/kernel"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/local"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// placedAt is the identity, and has its result lie at a placement on an axis of
// so many ranks: so a test gives an operation operands wherever it wants.
type placedAt struct {
	at    parallel.Placement
	ranks int
}

func (placedAt) Kind() string { return "placed_at" }

func (placedAt) Infer(in []graph.Type) (graph.Type, []graph.Type, error) { return in[0], nil, nil }

// Eval copies; parts of a sum are all equal.
func (s placedAt) Eval(e *graph.Eval) error {
	for i, x := range e.In[0].Data {
		if e.Out.Data[i] = x; s.at == parallel.Partial {
			e.Out.Data[i] = x / float64(s.ranks)
		}
	}
	return nil
}

func (placedAt) Wrt(int) []bool { return []bool{true} }

func (placedAt) Grad(g *graph.Gradient) []*G.Node { return []*G.Node{g.Dy} }

func (s placedAt) Rule([]graph.Type, []parallel.Placement) ([]parallel.Placement, parallel.Placement) {
	if s.at == parallel.Partial {
		return []parallel.Placement{parallel.Replicate}, s.at
	}
	return []parallel.Placement{s.at}, s.at
}

func (placedAt) Lower(_ *kernel.Pool, c exec.Call) (*exec.Kernel, error) { return exec.Reference(c) }

// TestRule gives SwiGLU operands at all placements on 2 and on 3 ranks, and
// compares the loss and the gradients of the operands with those of one rank.
// Copied is left out, which parameters alone are.
func TestRule(t *testing.T) {
	all := []parallel.Placement{parallel.Replicate, parallel.Partial, parallel.Shard(0), parallel.Shard(1), parallel.Shard(2)}
	want, wantGrads := placedStep(t, 1, parallel.Replicate, parallel.Replicate)
	for _, ranks := range []int{2, 3} {
		for _, gate := range all {
			for _, up := range all {
				loss, grads := placedStep(t, ranks, gate, up)
				if math.Abs(loss-want) > 1e-5 {
					t.Errorf("%d ranks, gate %v, up %v: loss %g, on one rank %g", ranks, gate, up, loss, want)
				}
				for name, w := range wantGrads {
					for i := range w {
						if math.Abs(float64(grads[name][i]-w[i])) > 1e-6 {
							t.Errorf("%d ranks, gate %v, up %v: gradient of %s, element %d: %g, on one rank %g", ranks, gate, up, name, i, grads[name][i], w[i])
							break
						}
					}
				}
			}
		}
	}
}

// placedStep takes a step of a model that has SwiGLU of two parameters as its
// logits, and returns the loss and the parameters' gradients.
func placedStep(t *testing.T, ranks int, gate, up parallel.Placement) (float64, map[string][]float32) {
	t.Helper()
	const n = 6 // divides by 2 and 3
	b := graph.NewBuilder(tensor.Float32)
	targets := b.Input(graph.InputTargets, tensor.Int32, n, n)
	scale := b.Scalar(graph.InputScale)
	b.Layer("embedding", "embedding", "")
	operand := func(name string, at parallel.Placement) *G.Node {
		return b.Apply(name, placedAt{at, ranks}, b.Param(name, graph.Init{Std: 1}, n, n, n))
	}
	g, u := operand("gate", gate), operand("up", up)
	b.Layer("block", "block", "")
	y := b.EndLayer(b.Apply("swiglu", SwiGLU{}, g, u))
	b.Layer("head", "head", "")
	b.Loss(b.Apply("loss", graph.CrossEntropy{}, y, targets, scale))
	model, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	// Tensor parallelism leaves what the model does not split on every rank.
	plan, err := parallel.Parse(fmt.Sprintf("tp=%d", ranks))
	if err != nil {
		t.Fatal(err)
	}
	trainer, err := local.New(local.Options{Model: model, Plan: plan, Seed: 5})
	if err != nil {
		t.Fatalf("%d ranks, gate %v, up %v: %v", ranks, gate, up, err)
	}
	defer trainer.Close()
	batch := local.Batch{Ints: map[string][]int32{}}
	r := rand.New(rand.NewPCG(5, 6))
	for range n * n {
		batch.Ints[graph.InputTargets] = append(batch.Ints[graph.InputTargets], int32(r.IntN(n)))
	}
	stats, err := trainer.Step(t.Context(), batch, exec.AdamW{LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
	if err != nil {
		t.Fatal(err)
	}
	return stats.Loss, trainer.Gradients()
}
