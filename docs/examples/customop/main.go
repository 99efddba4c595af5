// Command customop trains a model with an operation of its own under any plan.
//
// swiglu.go is the operation, model.go the model, swiglu_test.go what holds them
// to their mathematics. docs/custom-ops.md goes through them.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/local"
	"gorgonia.org/tensor"
)

//go:embed swiglu.go
var text string // to learn, a byte a token

var config = Config{Vocab: 128, Seq: 32, Width: 32, Heads: 4, Inner: 64, Blocks: 2}

func main() {
	plan := flag.String("plan", "tp=2 dp=2 micro=2", "how ranks share the model")
	steps := flag.Int("steps", 60, "training steps")
	flag.Parse()
	if err := train(context.Background(), *plan, *steps); err != nil {
		log.Fatal(err)
	}
}

const batch = 16 // sequences a step

func train(ctx context.Context, planText string, steps int) error {
	plan, err := parallel.Parse(planText)
	if err != nil {
		return err
	}
	model, err := config.Build(tensor.Float32, batch/plan.Micro)
	if err != nil {
		return err
	}
	trainer, err := local.New(local.Options{Model: model, Plan: plan, Seed: 1})
	if err != nil {
		return err
	}
	defer trainer.Close()
	random := rand.New(rand.NewPCG(1, 1))
	adamW := exec.AdamW{LR: 5e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Clip: 1}
	for step := range steps {
		stats, err := trainer.Step(ctx, draw(random), adamW)
		if err != nil {
			return err
		}
		if step%10 == 0 || step == steps-1 {
			fmt.Printf("step %3d: loss %.3f\n", step+1, stats.Loss)
		}
	}
	return nil
}

// draw takes windows of the text, and as targets the bytes that follow.
func draw(r *rand.Rand) local.Batch {
	var tokens, targets []int32
	for range batch {
		from := r.IntN(len(text) - config.Seq)
		for i := range config.Seq {
			tokens = append(tokens, int32(text[from+i]))
			targets = append(targets, int32(text[from+i+1]))
		}
	}
	return local.Batch{Ints: map[string][]int32{graph.InputTokens: tokens, graph.InputTargets: targets}}
}
