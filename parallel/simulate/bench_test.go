package simulate

import (
	"fmt"
	"io"
	"testing"

	"github.com/galvani-ml/galvani/parallel"
)

// pipeline is a job of many stages of 32 ranks: parameters are gathered and
// gradients scattered beside the computation, activations are sent, and gradients
// summed in the end.
func pipeline(stages, micro, tasks int, link *Link) *Job {
	j := &Job{Micro: micro, Schedule: parallel.OneFOneB}
	if link != nil {
		j.Overlap = 1.2
	}
	exchange := func(bytes float64) *Exchange {
		return &Exchange{Latency: 1e-5, Bytes: bytes, Rate: 25e9, Link: link}
	}
	for i := range stages {
		var s Stage
		pass := func(seconds float64, sends bool) []Task {
			var list []Task
			for n := range tasks {
				gather := exchange(40e6)
				gather.Beside, gather.NeededBy = true, len(list)+1
				list = append(list, Task{Name: "gather", Exchange: gather, Layer: n},
					Task{Name: "block", Compute: (seconds + float64(i%7)*1e-4) / float64(tasks), Layer: n})
			}
			if sends {
				send := exchange(10e6)
				send.Send = true
				list = append(list, Task{Name: "send", Exchange: send})
			}
			return list
		}
		s.Forward = pass(10e-3, i < stages-1)
		s.Backward = pass(20e-3, i > 0)
		sum := exchange(500e6)
		sum.Beside, sum.NeededBy = true, ByUpdate
		s.Backward = append(s.Backward, Task{Name: "sum", Exchange: sum, Only: Last})
		s.Update = []Task{{Name: "norm", Barrier: true}, {Name: "AdamW", Compute: 1e-2}}
		for range tasks {
			s.Layers = append(s.Layers, Layer{Activation: 1 << 20, Peak: 1 << 20})
		}
		j.Stages = append(j.Stages, s)
	}
	return j
}

func BenchmarkMeasure(b *testing.B) {
	for _, c := range []struct{ stages, micro, tasks int }{{8, 64, 1}, {64, 256, 1}, {128, 512, 1}, {128, 512, 4}} {
		for _, link := range []*Link{nil, {Name: "network", Rate: 400e9}} {
			name := fmt.Sprintf("stages=%d/micro=%d/tasks=%d/shared=%t", c.stages, c.micro, c.tasks, link != nil)
			b.Run(name, func(b *testing.B) {
				j := pipeline(c.stages, c.micro, c.tasks, link)
				for b.Loop() {
					if _, err := Measure(j); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkPlay(b *testing.B) {
	j := pipeline(128, 512, 1, nil)
	b.ReportAllocs()
	for b.Loop() {
		timeline, err := Play(j)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(timeline.Events)), "events")
	}
}

func BenchmarkWriteTrace(b *testing.B) {
	timeline, err := Play(pipeline(128, 512, 1, nil))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := timeline.WriteTrace(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
