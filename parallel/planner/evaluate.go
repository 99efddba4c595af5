package planner

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/parallel/search"
)

// Evaluation is what a plan takes.
type Evaluation struct {
	Plan   *parallel.Plan
	Batch  int     // rows of a step, over all ranks
	Step   float64 // seconds
	Stages []Stage
	Layers []Layer
	Fixed  float64 // of Step, in seconds: what every plan takes

	problem *search.Problem // of these strategies alone
}

// cell returns the cell of the plan.
func (e *Evaluation) cell() search.Cell {
	return search.Cell{Batch: e.Batch, Stages: e.Plan.PP, Micro: e.Plan.Micro, Schedule: e.Plan.Schedule}
}

// Fits says that every stage is within its budget.
func (e *Evaluation) Fits() bool {
	return !slices.ContainsFunc(e.Stages, func(s Stage) bool { return s.Memory > s.Budget })
}

// Stage is what a pipeline stage takes.
type Stage struct {
	Layers   [2]int  // first and last
	InFlight int     // micro-batches at most
	Time     float64 // of a micro-batch, in seconds
	Sync     float64 // what the last micro-batch takes more, in seconds
	Memory   int64   // of a rank, in bytes
	Budget   int64
}

// Layer is what a layer takes of a rank of its stage.
type Layer struct {
	Name     string
	Stage    int
	Strategy parallel.Strategy
	Price    cost.Price
	Change   float64 // seconds a micro-batch to bring activations there from the layer before
	Message  float64 // seconds a micro-batch of messages from neighbouring stages
	Memory   LayerMemory
}

// LayerMemory is what a layer takes of a rank, in bytes.
type LayerMemory struct {
	States     int64 `json:"states"`
	Activation int64 `json:"activation"` // of one micro-batch
	Peak       int64 `json:"peak"`
}

// Evaluate returns what a plan takes for a batch of so many rows.
func Evaluate(o *Options, plan *parallel.Plan, batch int) (*Evaluation, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := plan.Validate(o.Model.Facts, o.Space.Devices, batch); err != nil {
		return nil, err
	}
	return newPricer(o).evaluate(plan, batch)
}

// evaluate is Evaluate of a plan that fits the model.
func (p *pricer) evaluate(plan *parallel.Plan, batch int) (*Evaluation, error) {
	strategies := plan.LayerStrategies(p.Model.Facts)
	e := &Evaluation{Plan: plan, Batch: batch, Fixed: p.Fixed}
	c := e.cell()
	type alike struct {
		kind     int
		strategy parallel.Strategy
	}
	known := map[alike]*search.Layer{}
	var layers []*search.Layer
	for i, s := range strategies {
		kind := p.Model.Kinds[i]
		priced, err := p.layer(kind, s, c.Stages, batch/c.Micro)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		name := p.Model.Facts.Layers[i].Name
		l := known[alike{kind, s}]
		if l == nil {
			l = &search.Layer{Name: name, Strategies: []parallel.Strategy{s}, Costs: []search.Cost{priced.cost}}
			known[alike{kind, s}] = l
		}
		layers = append(layers, l)
		e.Layers = append(e.Layers, Layer{Name: name, Strategy: s, Price: priced.price, Memory: LayerMemory{priced.work.States, priced.work.Activation, priced.work.Peak}})
	}
	e.problem = p.framed(c, layers)
	e.fill(plan.BlocksPerStage(p.Model.Facts), p.Process)
	return e, nil
}

// fill computes the stages.
func (e *Evaluation) fill(blocks []int, process int64) {
	p := e.problem
	var points []search.Point
	layer := 0
	for stage, n := range blocks {
		if stage == 0 {
			n += p.Before
		}
		if stage == len(blocks)-1 {
			n += p.After
		}
		choice := make([]int, n)
		time, sync := p.Times(stage, layer, choice)
		s := Stage{
			Layers: [2]int{layer, layer + n - 1}, InFlight: p.Inflight(stage), Time: time, Sync: sync,
			Memory: p.Memory(stage, layer, choice) + process, Budget: p.Budget[0] + process,
		}
		e.Stages = append(e.Stages, s)
		points = append(points, search.Point{Time: time, Sync: sync})
		for i := range choice {
			e.place(stage, layer+i, i == 0, i == n-1)
		}
		layer += n
	}
	e.Step = p.Score(points)
}

// place says on which stage a layer is, and what its borders take.
func (e *Evaluation) place(stage, layer int, first, last bool) {
	p, l := e.problem, &e.Layers[layer]
	l.Stage = stage
	c := p.Layers[layer].Costs[0]
	switch {
	case !first:
		l.Change = p.Change(p.Layers[layer-1], 0, p.Layers[layer], 0)
	case stage > 0:
		l.Message += c.Receive
	}
	if last && stage < p.Stages-1 {
		l.Message += c.Send
	}
}

// Split says where the time of a step goes, in seconds of the slowest stage.
type Split struct {
	Compute   float64            `json:"compute"`   // forward and backward, of all micro-batches
	Recompute float64            `json:"recompute"` // what is computed again
	Exchanges map[string]float64 `json:"exchanges"` // waited for, by kind, of all micro-batches
	Messages  float64            `json:"messages"`  // between stages
	Bubble    float64            `json:"bubble"`    // idle while other stages work
	Reduction float64            `json:"reduction"` // of gradients, not hidden, and parameters gathered once a step
	Update    float64            `json:"update"`
	Fixed     float64            `json:"fixed"`
}

// Split splits the step's time.
func (e *Evaluation) Split() Split {
	slowest := 0
	for i, s := range e.Stages {
		if s.Time > e.Stages[slowest].Time {
			slowest = i
		}
	}
	m := float64(e.Plan.Micro)
	x := Split{Exchanges: map[string]float64{}, Fixed: e.Fixed}
	for _, l := range e.Layers {
		if l.Stage != slowest {
			continue
		}
		x.Compute += m * (l.Price.Forward + l.Price.Backward)
		x.Recompute += m * l.Price.Again
		for kind, t := range l.Price.Exposed() {
			x.Exchanges[kind] += m * t
		}
		if l.Change > 0 {
			x.Exchanges["change of strategy"] += m * l.Change
		}
		x.Messages += m * l.Message
		x.Reduction += max(0, l.Price.Sync()-l.Price.Update)
		x.Update += l.Price.Update
	}
	busy := m*e.Stages[slowest].Time + e.Stages[slowest].Sync + e.Fixed
	x.Bubble = max(0, e.Step-busy)
	return x
}
