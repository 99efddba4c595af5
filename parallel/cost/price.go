package cost

import (
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/search"
)

// Machine is what layers are priced on.
type Machine struct {
	Cluster   *cluster.Cluster
	Precision string  // of products: fp32 or bf16
	Update    float64 // seconds to update one element of a parameter; 0 for what the memory's bandwidth allows
}

// Price is what a layer's work takes on a machine, in seconds.
type Price struct {
	Forward   float64 // computation of a micro-batch
	Backward  float64 // without what is computed again
	Again     float64
	Exchanges []Priced
	Update    float64 // of the layer's parameters, once a step
	Overlap   float64 // of computation and exchanges, see [cluster.Overlapped]
}

// Priced is an exchange with the seconds that all Count of it take.
type Priced struct {
	Exchange
	Seconds float64
}

// updateBytes is the memory traffic of AdamW, of an element: gradient, parameter
// and both moments read, the last three written.
const updateBytes = 28

// Price prices a layer's work.
func (m *Machine) Price(w *Work) Price {
	p := Price{Overlap: m.Cluster.Overlap, Update: float64(w.Params) * m.perElement()}
	for _, o := range w.Ops {
		t := m.Cluster.Device.Time(cluster.Op{Kind: o.Kind, Count: o.Count, FLOPs: o.FLOPs, Bytes: o.Bytes}, m.Precision)
		switch {
		case o.Again:
			p.Again += t
		case o.Pass == graph.Backward:
			p.Backward += t
		default:
			p.Forward += t
		}
	}
	if w.Measured != nil {
		p.measured(*w.Measured)
	}
	for _, e := range w.Exchanges {
		p.Exchanges = append(p.Exchanges, Priced{e, float64(e.Count) * m.Cluster.Time(e.Exchange)})
	}
	return p
}

// perElement returns the seconds of updating an element.
func (m *Machine) perElement() float64 {
	if m.Update > 0 {
		return m.Update
	}
	return updateBytes / m.Cluster.Device.Bandwidth
}

// measured replaces the computation by what was measured. What is computed again
// is the forward pass, if anything is.
func (p *Price) measured(s Seconds) {
	again := 0.0
	if p.Again > 0 {
		again = min(s.Forward, s.Backward)
	}
	p.Forward, p.Backward, p.Again = s.Forward, s.Backward-again, again
}

// Pass returns the seconds of a micro-batch in a pass: the computation, the
// exchanges that it waits for, and what of the others it does not hide.
func (p *Price) Pass(pass graph.Pass) float64 {
	compute := p.compute(pass)
	blocking, beside := 0.0, 0.0
	for _, e := range p.Exchanges {
		switch {
		case e.Once || e.Pass != pass:
		case e.Beside:
			beside += e.Seconds
		default:
			blocking += e.Seconds
		}
	}
	return cluster.Overlapped(compute, beside, p.Overlap) + blocking
}

// compute returns the computation of a pass.
func (p *Price) compute(pass graph.Pass) float64 {
	if pass == graph.Backward {
		return p.Backward + p.Again
	}
	return p.Forward
}

// Time returns the seconds of a micro-batch.
func (p *Price) Time() float64 { return p.Pass(graph.Forward) + p.Pass(graph.Backward) }

// Sync returns what a step takes more: the update, exchanges once a step, and
// of those that go on beside the last backward pass what it does not hide.
func (p *Price) Sync() float64 {
	compute := p.compute(graph.Backward)
	blocking, beside := 0.0, 0.0
	for _, e := range p.Exchanges {
		switch {
		case !e.Once:
		case e.Beside:
			beside += e.Seconds
		default:
			blocking += e.Seconds
		}
	}
	return cluster.Overlapped(compute, beside, p.Overlap) - compute + blocking + p.Update
}

// Cost returns the price as the search takes it.
func (p *Price) Cost(w *Work) search.Cost {
	return search.Cost{Time: p.Time(), Sync: max(0, p.Sync()), States: w.States, Activation: w.Activation, Peak: w.Peak}
}

// Exposed returns the seconds of a micro-batch that the computation waits for
// exchanges, by kind. Of what goes on beside it, each kind has its part.
func (p *Price) Exposed() map[string]float64 {
	exposed := map[string]float64{}
	for _, pass := range []graph.Pass{graph.Forward, graph.Backward} {
		beside := map[string]float64{}
		var sum float64
		for _, e := range p.Exchanges {
			switch {
			case e.Once || e.Pass != pass:
			case e.Beside:
				beside[e.Kind] += e.Seconds
				sum += e.Seconds
			default:
				exposed[e.Kind] += e.Seconds
			}
		}
		left := cluster.Overlapped(p.compute(pass), sum, p.Overlap) - p.compute(pass)
		for kind, t := range beside {
			exposed[kind] += left * t / sum
		}
	}
	return exposed
}
