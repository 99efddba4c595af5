package exec_test

import (
	"context"
	"fmt"
	"log"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"gorgonia.org/tensor"
)

// A model that learns which token follows which, trained on one sequence.
func Example() {
	const vocab, width = 4, 8
	b := graph.NewBuilder(tensor.Float32)
	tokens := b.Input(graph.InputTokens, tensor.Int32, 1, 6)
	targets := b.Input(graph.InputTargets, tensor.Int32, 1, 6)
	scale := b.Scalar(graph.InputScale)
	b.Layer("all", "all", "")
	x := b.Apply("embed", graph.Embedding{}, tokens, b.Param("table", graph.Init{}, vocab, width))
	x = b.Apply("head", graph.Linear{Contract: 1}, x, b.Param("head", graph.Init{}, width, vocab))
	b.Loss(b.Apply("loss", graph.CrossEntropy{}, x, targets, scale))
	model, err := b.Model()
	if err != nil {
		log.Fatal(err)
	}
	stage := graph.Whole(model)
	if err := stage.Differentiate(); err != nil {
		log.Fatal(err)
	}

	backend, err := cpu.New(1)
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	program, err := exec.Compile(stage, backend, exec.Options{Train: true})
	if err != nil {
		log.Fatal(err)
	}
	m, err := exec.New(program, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	for i, p := range m.Params() {
		for j := range p.Value {
			p.Value[j] = float32((i+j*j)%5-2) / 10
		}
	}
	copy(m.Input(0, graph.InputTokens).Ints, []int32{0, 1, 2, 3, 0, 1})
	copy(m.Input(0, graph.InputTargets).Ints, []int32{1, 2, 3, 0, 1, 2})
	m.Input(0, graph.InputScale).Floats[0] = 1.0 / 6

	ctx := context.Background()
	for step := 1; step <= 100; step++ {
		mb := exec.MicroBatch{Step: step}
		if err := m.Forward(ctx, mb); err != nil {
			log.Fatal(err)
		}
		if err := m.Backward(ctx, mb, true); err != nil {
			log.Fatal(err)
		}
		stats, err := m.Update(ctx, exec.AdamW{LR: 0.05, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Step: step})
		if err != nil {
			log.Fatal(err)
		}
		if step == 1 || step == 100 {
			fmt.Printf("step %d: loss %.1f\n", step, stats.Loss)
		}
	}
	// Output:
	// step 1: loss 1.4
	// step 100: loss 0.0
}
