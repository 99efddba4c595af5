package planner

import (
	"math"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/parallel/simulate"
)

// Job makes the step of a plan a job for the simulator: tasks of every layer on
// one rank of each stage.
func (o *Options) Job(e *Evaluation) *simulate.Job {
	b := &jobBuilder{Options: o, evaluation: e, perStage: o.Space.Devices / e.Plan.PP, links: map[[2]int]*simulate.Link{}}
	c := o.Machine.Cluster
	j := &simulate.Job{Micro: e.Plan.Micro, Schedule: e.Plan.Schedule, Overlap: c.Overlap}
	if o.AtOnce > 0 {
		j.Cores = o.AtOnce / float64(c.Hosts)
	}
	for stage := range e.Stages {
		j.Stages = append(j.Stages, b.stage(stage))
	}
	return j
}

// jobBuilder makes stages.
type jobBuilder struct {
	*Options
	evaluation *Evaluation
	perStage   int
	links      map[[2]int]*simulate.Link // by number and host
}

// stage makes a pipeline stage.
func (b *jobBuilder) stage(stage int) simulate.Stage {
	e, per := b.evaluation, b.Machine.Cluster.PerHost
	s := simulate.Stage{Host: stage * b.perStage / per, Ranks: min(b.perStage, per), States: b.Process}
	first, last := e.Stages[stage].Layers[0], e.Stages[stage].Layers[1]
	var update float64
	stretch := b.stretch(b.perStage) // the simulator shares the processors itself
	forward, backward := &passBuilder{jobBuilder: b, stage: stage}, &passBuilder{jobBuilder: b, stage: stage}
	for l := first; l <= last; l++ {
		x := e.Layers[l]
		s.States += x.Memory.States
		s.Layers = append(s.Layers, simulate.Layer{Activation: x.Memory.Activation, Peak: x.Memory.Peak})
		update += x.Price.Update / stretch
		forward.layer(l, graph.Forward, x.Price.Forward/stretch)
		y := e.Layers[first+last-l].Price
		backward.layer(first+last-l, graph.Backward, (y.Backward+y.Again)/stretch)
	}
	forward.message(stage < len(e.Stages)-1, last)
	backward.message(stage > 0, first)
	s.Forward, s.Backward = forward.done(first), backward.done(first)
	s.Update = append(b.once(stage, first, last), simulate.Task{Name: "norm", Barrier: true, Layer: 0}, simulate.Task{Name: "update", Compute: update + e.Fixed})
	return s
}

// once makes the exchanges after the last backward pass that nothing goes on
// beside.
func (b *jobBuilder) once(stage, first, last int) []simulate.Task {
	var tasks []simulate.Task
	for l := first; l <= last; l++ {
		for _, x := range b.evaluation.Layers[l].Price.Exchanges {
			if x.Once && !x.Beside && x.Pass == graph.Backward {
				tasks = append(tasks, simulate.Task{Name: x.Kind, Layer: l - first, Exchange: b.exchange(stage, x)})
			}
		}
	}
	return tasks
}

// passBuilder makes the tasks of a pass. Exchanges beside the computation are
// begun a layer ahead, as the compiler does it with gathers, or after the layer.
type passBuilder struct {
	*jobBuilder
	stage  int
	layers [][]simulate.Task // of each layer, in the order of the pass
	ahead  [][]simulate.Task // what each needs, to be begun before
	number []int
}

// layer adds a layer.
func (p *passBuilder) layer(l int, pass graph.Pass, compute float64) {
	e := p.evaluation
	var tasks, ahead []simulate.Task
	x := e.Layers[l]
	if pass == graph.Forward && x.Change > 0 { // of both passes
		tasks = append(tasks, simulate.Task{Name: "change of strategy", Exchange: &simulate.Exchange{Latency: x.Change}})
	}
	tasks = append(tasks, simulate.Task{Name: x.Name, Compute: compute})
	for _, y := range x.Price.Exchanges {
		t := simulate.Task{Name: y.Kind, Exchange: p.exchange(p.stage, y)}
		gathers := y.Kind == (graph.AllGather{}).Kind()
		switch {
		case y.Pass != pass || y.Once && !y.Beside && pass == graph.Backward:
		case y.Once && pass == graph.Forward:
			t.Only = simulate.First
			tasks = append([]simulate.Task{t}, tasks...)
		case y.Once:
			t.Only, t.Exchange.Beside, t.Exchange.NeededBy = simulate.Last, true, simulate.ByUpdate
			tasks = append(tasks, t)
		case y.Beside && gathers:
			t.Exchange.Beside = true
			ahead = append(ahead, t)
		case y.Beside:
			t.Exchange.Beside, t.Exchange.NeededBy = true, simulate.PassEnd
			tasks = append(tasks, t)
		default:
			tasks = append(tasks, t)
		}
	}
	p.layers, p.ahead, p.number = append(p.layers, tasks), append(p.ahead, ahead), append(p.number, l)
}

// message sends what the neighbouring stage waits for.
func (p *passBuilder) message(sends bool, layer int) {
	if !sends {
		return
	}
	price := p.evaluation.problem.Layers[layer].Costs[0].Receive
	n := len(p.layers) - 1
	p.layers[n] = append(p.layers[n], simulate.Task{Name: "send", Exchange: &simulate.Exchange{Latency: price, Send: true, Beside: true, NeededBy: simulate.PassEnd}})
}

// done puts the tasks in order: what a layer needs is begun before the layer
// before it.
func (p *passBuilder) done(first int) []simulate.Task {
	var all []simulate.Task
	type need struct{ at, layer int }
	var needs []need
	begin := func(i int) {
		if i < len(p.ahead) {
			for _, t := range p.ahead[i] {
				t.Layer = p.number[i] - first
				needs = append(needs, need{len(all), i})
				all = append(all, t)
			}
		}
	}
	begin(0)
	starts := make([]int, len(p.layers))
	for i, tasks := range p.layers {
		begin(i + 1)
		starts[i] = len(all)
		for _, t := range tasks {
			t.Layer = p.number[i] - first
			all = append(all, t)
		}
	}
	for _, n := range needs {
		all[n.at].Exchange.NeededBy = starts[n.layer]
	}
	return all
}

// exchange makes a layer's exchanges of one kind one.
func (b *jobBuilder) exchange(stage int, x cost.Priced) *simulate.Exchange {
	c := b.Machine.Cluster
	f := c.Flow(x.Exchange.Exchange)
	n := float64(x.Count)
	if math.IsInf(f.Latency, 1) || len(c.Links) == 0 || x.Group.Ranks < 2 {
		return &simulate.Exchange{Latency: x.Seconds}
	}
	if f.Bytes == 0 {
		return &simulate.Exchange{Latency: n * f.Latency}
	}
	if c.Links[f.Link].Shared == cluster.SharedDevice {
		return &simulate.Exchange{Latency: n * f.Latency, Bytes: n * f.Bytes, Rate: f.Rate}
	}
	e := &simulate.Exchange{Latency: n * f.Latency, Bytes: n * f.Bytes / f.Rate}
	e.Link, e.Flows = b.shared(f, stage)
	return e
}

// shared returns a link that others use, and the flows that a stage puts on it.
// A flow's rate is known for all ranks of the link at once: in units of that the
// link has as much as there are ranks, and what moves is counted in seconds.
func (b *jobBuilder) shared(f cluster.Flow, stage int) (*simulate.Link, float64) {
	c := b.Machine.Cluster
	key := [2]int{f.Link, 0}
	ranks := c.Devices()
	if c.Links[f.Link].Shared == cluster.SharedHost {
		key[1], ranks = stage*b.perStage/c.PerHost, c.PerHost
	}
	flows := min(b.perStage, ranks)
	l := b.links[key]
	if l == nil {
		l = &simulate.Link{Name: c.Links[f.Link].Name, Rate: float64(ranks)}
		b.links[key] = l
	}
	return l, float64(flows)
}
