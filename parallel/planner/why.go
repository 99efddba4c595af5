package planner

import (
	"cmp"
	"slices"

	"github.com/galvani-ml/galvani/parallel"
)

// Why says why a run of layers has its strategy: what the step would take if all
// of them had another.
type Why struct {
	Layers   [2]int // first and last, alike and on one stage
	Strategy parallel.Strategy
	// RunnerUp is the fastest other strategy that fits, nil if none does.
	RunnerUp *Alternative
	// TooLarge is the fastest one that does not fit and would be faster than the
	// strategy chosen, nil if none would.
	TooLarge *Alternative
}

// Alternative is another strategy for a run of layers.
type Alternative struct {
	Strategy parallel.Strategy
	Step     float64 // seconds, if the layers had it
	Stage    int     // that then lacks most memory
	Lacks    int64   // bytes there; 0 where it fits
}

// Why explains the strategy of every run of layers. Strategies are those of the
// space.
func (o *Options) Why(e *Evaluation) ([]Why, error) {
	p := newPricer(o)
	c := e.cell()
	var all []Why
	for from := 0; from < len(e.Layers); {
		to := from
		for to+1 < len(e.Layers) && e.Layers[to+1].Stage == e.Layers[from].Stage && e.Layers[to+1].Strategy == e.Layers[from].Strategy &&
			o.Model.Kinds[to+1] == o.Model.Kinds[from] {
			to++
		}
		w := Why{Layers: [2]int{from, to}, Strategy: e.Layers[from].Strategy}
		for _, s := range p.strategies(c) {
			if s == w.Strategy || s.Checkpoint && o.Model.isEnd(o.Model.Kinds[from]) {
				continue
			}
			a, err := p.with(e, w.Layers, s)
			if err != nil {
				return nil, err
			}
			w.offer(a, e.Step)
		}
		all = append(all, w)
		from = to + 1
	}
	return all, nil
}

// offer takes up an alternative.
func (w *Why) offer(a *Alternative, step float64) {
	switch {
	case a == nil:
	case a.Lacks == 0 && (w.RunnerUp == nil || a.Step < w.RunnerUp.Step):
		w.RunnerUp = a
	case a.Lacks > 0 && a.Step < step && (w.TooLarge == nil || a.Step < w.TooLarge.Step):
		w.TooLarge = a
	}
}

// with evaluates the plan with another strategy for some layers; nil where that
// is no plan. Embedding and head go together where they share a table.
func (p *pricer) with(e *Evaluation, layers [2]int, s parallel.Strategy) (*Alternative, error) {
	plan := *e.Plan
	plan.Layers = plan.LayerStrategies(p.Model.Facts)
	plan.Strategy = parallel.Strategy{DP: 1, TP: 1}
	for l := layers[0]; l <= layers[1]; l++ {
		plan.Layers[l] = s
	}
	if last := len(plan.Layers) - 1; p.Model.Tied && (layers[0] == 0 || layers[1] == last) {
		plan.Layers[0], plan.Layers[last] = s, s
	}
	if plan.Validate(p.Model.Facts, p.Space.Devices, e.Batch) != nil {
		return nil, nil
	}
	x, err := p.evaluate(&plan, e.Batch)
	if err != nil {
		return nil, err
	}
	a := &Alternative{Strategy: s, Step: x.Step}
	worst := slices.MaxFunc(x.Stages, func(a, b Stage) int { return cmp.Compare(a.Memory-a.Budget, b.Memory-b.Budget) })
	if a.Lacks = max(0, worst.Memory-worst.Budget); a.Lacks > 0 {
		a.Stage = slices.IndexFunc(x.Stages, func(s Stage) bool { return s == worst })
	}
	return a, nil
}
