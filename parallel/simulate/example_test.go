package simulate_test

import (
	"fmt"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/simulate"
)

// Three pipeline stages over one network: each sends to its neighbours, sums its
// gradients while the last backward pass still runs, and meets the others before
// it updates its parameters.
func Example() {
	network := &simulate.Link{Name: "network", Rate: 10e9}
	send := simulate.Task{Name: "send", Exchange: &simulate.Exchange{Latency: 20e-6, Bytes: 16e6, Link: network, Send: true}}
	sum := simulate.Task{Name: "all_reduce", Layer: 1, Only: simulate.Last, Exchange: &simulate.Exchange{
		Bytes: 80e6, Link: network, Beside: true, NeededBy: simulate.ByUpdate,
	}}
	job := &simulate.Job{Micro: 4, Schedule: parallel.OneFOneB, Overlap: 1.1}
	for i := range 3 {
		stage := simulate.Stage{
			Forward: []simulate.Task{{Name: "blocks", Layer: 0, Compute: 6e-3}, {Name: "blocks", Layer: 1, Compute: 4e-3}},
			// The gradients of layer 1 are there before those of layer 0.
			Backward: []simulate.Task{{Name: "blocks", Layer: 1, Compute: 8e-3}, sum, {Name: "blocks", Layer: 0, Compute: 12e-3}},
			Update:   []simulate.Task{{Name: "norm", Barrier: true}, {Name: "AdamW", Compute: 6e-3}},
			States:   6 << 30,
			Layers:   []simulate.Layer{{Activation: 640 << 20, Peak: 256 << 20}, {Activation: 384 << 20, Peak: 128 << 20}},
		}
		if i < 2 {
			stage.Forward = append(stage.Forward, send)
		}
		if i > 0 {
			stage.Backward = append(stage.Backward, send)
		}
		job.Stages = append(job.Stages, stage)
	}
	timeline, err := simulate.Play(job)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(timeline.Text(90))
	fmt.Printf("bubble %.0f %%, communication %.0f %%\n", 100*timeline.BubbleShare(), 100*timeline.CommunicationShare())
	for i, s := range timeline.Stages {
		fmt.Printf("stage %d holds at most %.2f GiB, %d in flight\n", i, float64(s.Memory)/(1<<30), s.Inflight)
	}
	// Output:
	// stage 0  F0--~F1---~F2--~~.................B0-------F3---~B1-------.....~B2-------.....B3-------U--
	// stage 1  ....~F0---~F1--~~.......~B0-------F2---B1-------~F3--~B2-------~....B3--------.........U--
	// stage 2  ..........~F0--B0-------~F1--B1-------~F2---B2-------~F3--B3--------...................U--
	//          205 ms: F3 forward pass of micro-batch 3, B3 backward, U update, ~ waiting for an exchange, . for another stage
	// bubble 29 %, communication 9 %
	// stage 0 holds at most 9.25 GiB, 3 in flight
	// stage 1 holds at most 8.25 GiB, 2 in flight
	// stage 2 holds at most 7.12 GiB, 1 in flight
}
