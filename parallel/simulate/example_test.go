package simulate_test

import (
	"fmt"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/simulate"
)

// Three stages of data-parallel ranks: activations and gradients go over one
// network, sums of gradients begin in the last backward pass, and the ranks meet
// before they update the parameters.
func Example() {
	network := &simulate.Link{Name: "network", Rate: 10e9}
	send := simulate.Task{Name: "send", Exchange: &simulate.Exchange{Latency: 20e-6, Bytes: 16e6, Link: network, Send: true}}
	stage := simulate.Stage{
		Forward:  []simulate.Task{{Name: "blocks", Compute: 10e-3}},
		Backward: []simulate.Task{{Name: "blocks", Compute: 20e-3}},
		Update: []simulate.Task{
			{Name: "norm", Barrier: true},
			{Name: "AdamW", Compute: 8e-3},
		},
		States: 6 << 30,
		Layers: []simulate.Layer{{Activation: 1 << 30, Peak: 256 << 20}},
	}
	sum := simulate.Task{Name: "sum of gradients", Only: simulate.Last, Exchange: &simulate.Exchange{
		Bytes: 100e6, Link: network, Beside: true, NeededBy: simulate.ByUpdate,
	}}
	job := &simulate.Job{Micro: 4, Schedule: parallel.OneFOneB, Overlap: 1.1}
	for i := range 3 {
		s := stage
		if i < 2 {
			s.Forward = append([]simulate.Task{}, s.Forward...)
			s.Forward = append(s.Forward, send)
		}
		s.Backward = append([]simulate.Task{}, s.Backward...)
		if i > 0 {
			s.Backward = append(s.Backward, send)
		}
		s.Backward = append(s.Backward, sum)
		job.Stages = append(job.Stages, s)
	}
	timeline, err := simulate.Play(job)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(timeline.Text(96))
	fmt.Printf("bubble %.0f %%, communication %.0f %%\n", 100*timeline.BubbleShare(), 100*timeline.CommunicationShare())
	for i, s := range timeline.Stages {
		fmt.Printf("stage %d holds %.2f GiB at most, %d micro-batches\n", i, float64(s.Memory)/(1<<30), s.Inflight)
	}
	// Output:
}
