package search

import (
	"fmt"
	"slices"
	"testing"

	"github.com/galvani-ml/galvani/parallel"
)

// machine is a made-up cluster for tests: rates of a device and of its links.
type machine struct {
	flops       float64 // a second
	near, far   float64 // bytes a second between devices of a node, and of different nodes
	node        int     // devices of a node
	memory      int64
	optimizer   float64 // bytes of states a parameter
	activations float64 // bytes kept a token and width
}

// a100 is about 8 A100 a node that share a link of 100 Gb/s.
var a100 = machine{flops: 150e12, near: 150e9, far: 1.5e9, node: 8, memory: 72 << 30, optimizer: 16, activations: 34}

// transformer is a made-up GPT.
type transformer struct{ blocks, width, sequence, vocabulary int }

// gpt96 has the layers of GPT-3.
var gpt96 = transformer{blocks: 96, width: 12288, sequence: 2048, vocabulary: 50304}

// block prices a layer of so many parameters for a micro-batch of rows.
func (m machine) price(params, flops, width float64, sequence int, rows int, s parallel.Strategy) Cost {
	dp, tp := float64(s.Degree(parallel.RoleDP)), float64(s.Degree(parallel.RoleTP))
	tokens := float64(rows) / dp * float64(sequence)
	rate := func(r parallel.Role) float64 { // of the links of an axis
		below := 1
		for _, x := range slices.Backward(axes(s)) {
			below *= x.degree
			if x.role == r {
				break
			}
		}
		if below <= m.node {
			return m.near
		}
		return m.far
	}
	compute := 3 * flops * tokens / tp / m.flops
	held := tokens * width * m.activations / tp
	kept := held
	passes := 4.0
	if s.Checkpoint {
		compute *= 4.0 / 3
		kept, passes = tokens*width*2, 6
	}
	c := Cost{Time: compute, Activation: int64(kept), Peak: int64(held + params*2/tp)}
	if tp > 1 {
		c.Time += passes * 2 * (tp - 1) / tp * tokens * width * 2 / rate(parallel.RoleTP)
	}
	bytes := params * 2 / tp
	share := 1.0
	if dp > 1 {
		round := (dp - 1) / dp * bytes / rate(parallel.RoleDP)
		c.Sync = max(0, 2*round-compute*2/3)
		if s.ZeRO == 3 {
			share = 1 / dp
			c.Time += 2 * max(0, round-compute/3)
			c.Sync = max(0, round-compute*2/3)
		}
	}
	c.States = int64(params * m.optimizer / tp * share)
	return c
}

// axis is a level of a strategy's tree.
type axis struct {
	role   parallel.Role
	degree int
}

// axes returns the levels, root first.
func axes(s parallel.Strategy) []axis {
	var all []axis
	order := []parallel.Role{parallel.RoleDP, parallel.RoleTP}
	if s.Order != "" {
		order = []parallel.Role{parallel.RoleTP, parallel.RoleDP}
	}
	for _, r := range order {
		if d := s.Degree(r); d > 1 {
			all = append(all, axis{r, d})
		}
	}
	return all
}

// problem is a cell of the transformer on the machine.
func (m machine) problem(t transformer, devices int, c Cell) (*Problem, error) {
	if c.Stages > t.blocks || devices%c.Stages != 0 {
		return nil, nil
	}
	space := &Space{Devices: devices, Checkpoint: true, MaxDegree: map[Paradigm]int{TP: 16}}
	rows := c.Batch / c.Micro
	w := float64(t.width)
	layer := func(name string, params, flops float64) *Layer {
		l := &Layer{Name: name}
		for _, s := range space.Strategies(c.Stages) {
			if c.Admits(s) {
				l.Strategies = append(l.Strategies, s)
				l.Costs = append(l.Costs, m.price(params, flops, w, t.sequence, rows, s))
			}
		}
		return l
	}
	block := layer("block", 12*w*w, 24*w*w+4*w*float64(t.sequence))
	if len(block.Costs) == 0 {
		return nil, nil
	}
	table := w * float64(t.vocabulary)
	p := &Problem{
		Layers: slices.Concat([]*Layer{layer("embedding", table, 0)}, slices.Repeat([]*Layer{block}, t.blocks), []*Layer{layer("head", table, 2*table)}),
		Before: 1, After: 1, Stages: c.Stages, Micro: c.Micro, Schedule: c.Schedule,
		Budget: []int64{m.memory}, Hidden: 2.0 / 3,
	}
	p.Change = func(from *Layer, s int, to *Layer, t2 int) float64 {
		a, b := from.Strategies[s], to.Strategies[t2]
		if slices.Equal(axes(a), axes(b)) {
			return 0
		}
		most := max(a.Degree(parallel.RoleTP), b.Degree(parallel.RoleTP))
		dp := min(a.Degree(parallel.RoleDP), b.Degree(parallel.RoleDP))
		return 2 * float64(most-1) / float64(most) * float64(rows) / float64(dp) * float64(t.sequence) * w * 2 / m.near
	}
	return p, nil
}

func (m machine) sweep(t transformer, devices int, batches []int, mode Mode) *Sweep {
	stages := (&Space{Devices: devices}).Stages()
	return &Sweep{
		Batches: batches, Stages: stages, Schedules: []parallel.Schedule{parallel.OneFOneB, parallel.GPipe}, Mode: mode,
		Problem: func(c Cell) (*Problem, error) { return m.problem(t, devices, c) },
	}
}

// BenchmarkSweep searches plans for GPT with 96 layers.
func BenchmarkSweep(b *testing.B) {
	for _, devices := range []int{8, 64, 1024, 4096} {
		for _, mode := range []Mode{ModeEven, ModeBMW, ModeExact} {
			b.Run(fmt.Sprintf("devices=%d/mode=%s", devices, mode), func(b *testing.B) {
				t := gpt96
				if devices < 256 {
					t = transformer{32, 4096, 2048, 50304}
				}
				for b.Loop() {
					r, err := a100.sweep(t, devices, []int{max(64, devices)}, mode).Run(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					if r.Best == nil {
						b.Log(r.Closest)
						continue
					}
					b.ReportMetric(r.Best.Throughput(), "rows/s")
					if b.N == 1 {
						b.Log(r.Best.Cell, r.Best.Solution.Partition, r.Skipped, len(r.Outcomes))
					}
				}
			})
		}
	}
}
