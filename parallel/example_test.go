package parallel_test

import (
	"fmt"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
	"gorgonia.org/tensor"
)

// twoBlocks is a model of two linear blocks between an embedding and a head.
func twoBlocks() (*graph.Model, error) {
	b := graph.NewBuilder(tensor.Float32)
	b.Layer("embedding", "embedding", "")
	tokens := b.Input(graph.InputTokens, tensor.Int32, 4, 8)
	x := b.EndLayer(b.Apply("wte", graph.Embedding{}, tokens, b.Param("wte.weight", graph.Init{Std: 0.02}, 32, 16)))
	for i := range 2 {
		b.Layer(fmt.Sprintf("h.%d", i), "block", fmt.Sprintf("h.%d.", i))
		x = b.EndLayer(b.Apply("mlp", graph.Linear{Contract: 1}, x, b.Param("mlp.weight", graph.Init{Std: 0.02}, 16, 16)))
	}
	b.Layer("head", "head", "")
	x = b.Logits(b.Apply("lm_head", graph.Linear{Contract: 1}, x, b.Param("lm_head.weight", graph.Init{Std: 0.02}, 16, 32)))
	targets := b.Input(graph.InputTargets, tensor.Int32, 4, 8)
	b.Loss(b.Apply("loss", graph.CrossEntropy{}, x, targets, b.Scalar(graph.InputScale)))
	return b.Model()
}

func Example() {
	model, err := twoBlocks()
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := parallel.Parse("pp=2 dp=2 micro=2")
	if err != nil {
		fmt.Println(err)
		return
	}
	part, err := parallel.Partition(model, plan, 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(plan)
	fmt.Print(part.Describe())
	// Output:
	// pp=2 dp=2 tp=1 zero=0 ckpt=none micro=2 schedule=1f1b
	// rank 3: pp 1/2 dp 1/2
	// rows 2+2 of 4
	// group dp [2 3]
	// group pp [1 3]
	// group world [0 1 2 3]
	// param h.1.mlp.weight float32[16 16], gradient summed over dp, counted elsewhere
	// param lm_head.weight float32[16 32], gradient summed over dp, counted elsewhere
	// input targets int32[2 8]
	// input scale float32[]
	// schedule F0@0 B0@0 F1@0 B1@0 (slots 1)
	// forward:
	//   %0 = recv from stage 0 edge 0(token.0.0) float32[2 8 16] # h.0.mlp@pp:0-1
	//   %1 = linear(%0, h.1.mlp.weight) float32[2 8 16] # h.1.mlp
	//   %2 = linear(%1, lm_head.weight) float32[2 8 32] # lm_head
	//   %3 = cross_entropy(%2, targets, scale) float32[] # loss
	// logits %2
	// loss %3
	// loss summed over dp
}
