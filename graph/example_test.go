package graph_test

import (
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
)

// A model of one linear layer is built without values, differentiated, and run
// by Gorgonia's TapeMachine.
func Example() {
	b := graph.NewBuilder(tensor.Float64)
	b.Layer("head", "head", "")
	x := b.Input("x", tensor.Float64, 1, 2, 3) // [B, T, C]
	w := b.Param("weight", graph.Init{Std: 0.02}, 3, 4)
	logits := b.Logits(b.Apply("fc", graph.Linear{Contract: 1}, x, w))
	targets := b.Input(graph.InputTargets, tensor.Int32, 1, 2)
	b.Loss(b.Apply("loss", graph.CrossEntropy{}, logits, targets, b.Scalar(graph.InputScale)))
	model, err := b.Model()
	if err != nil {
		fmt.Println(err)
		return
	}
	stage := graph.Whole(model)
	if err := stage.Differentiate(); err != nil {
		fmt.Println(err)
		return
	}
	let := func(n *G.Node, v any) {
		if err := G.Let(n, v); err != nil {
			fmt.Println(err)
		}
	}
	let(x, tensor.New(tensor.WithShape(1, 2, 3), tensor.WithBacking([]float64{1, 0, 0, 0, 1, 0})))
	let(w, tensor.New(tensor.WithShape(3, 4), tensor.WithBacking(make([]float64, 12))))
	let(targets, tensor.New(tensor.WithShape(1, 2), tensor.WithBacking([]int32{2, graph.IgnoreIndex})))
	let(model.Input(graph.InputScale).Node, 1.0)
	let(stage.Seeds[0], 1.0)
	var loss, grad G.Value
	G.Read(model.Loss, &loss)
	G.Read(stage.Params[0].Grad, &grad)
	vm := G.NewTapeMachine(model.Graph)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("loss %.4f = ln 4\n", loss.Data())
	fmt.Printf("gradient of the weight's first row %.2f\n", grad.Data().([]float64)[:4])
	// Output:
	// loss 1.3863 = ln 4
	// gradient of the weight's first row [0.25 0.25 -0.75 0.25]
}
