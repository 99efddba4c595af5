package planning

import (
	"fmt"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/train/program"
)

// Recompute evaluates a plan without the search's tables: what every layer does
// is read off the compiled stages of the plan itself, changes of strategy
// included.
func (p *Problem) Recompute(plan *parallel.Plan, batch int) (*planner.Evaluation, error) {
	o := p.Request.Program
	o.Batch = batch
	perStage := plan.Mesh().Size() / plan.PP
	compiled := &compiledSource{source: p.Options.Source.(*source), works: map[int]cost.Work{}}
	for stage := range plan.PP {
		part, compiledStage, err := program.Compile(o, plan, stage*perStage, p.backend)
		if err != nil {
			return nil, fmt.Errorf("stage %d: %w", stage, err)
		}
		for layer, w := range program.StageWorks(part, compiledStage) {
			if layer == 0 && stage > 0 {
				layer = len(p.Options.Model.Kinds) - 1 // the head's copy of the embedding's table
			}
			compiled.add(layer, w)
		}
	}
	options := *p.Options
	options.Source = compiled
	compiled.kinds = p.Options.Model.Kinds
	options.Model.Kinds = nil
	for layer := range compiled.kinds {
		options.Model.Kinds = append(options.Model.Kinds, layer)
	}
	return planner.Evaluate(&options, plan, batch)
}

// compiledSource gives the works of a plan's own stages; the kind of a layer is
// its number.
type compiledSource struct {
	*source
	kinds []int
	works map[int]cost.Work
}

// add takes in a layer's work, or more of it.
func (s *compiledSource) add(layer int, w cost.Work) {
	have, ok := s.works[layer]
	if !ok {
		s.works[layer] = w
		return
	}
	have.Ops, have.Exchanges = append(have.Ops, w.Ops...), append(have.Exchanges, w.Exchanges...)
	have.Params, have.States, have.Activation, have.Peak = have.Params+w.Params, have.States+w.States, have.Activation+w.Activation, max(have.Peak, w.Peak)
	s.works[layer] = have
}

// Work returns that of a layer, with the seconds that were measured.
func (s *compiledSource) Work(layer int, strategy parallel.Strategy, stages, rows int) (*planner.Work, error) {
	w, err := s.source.Work(s.kinds[layer], strategy, stages, rows)
	if err != nil {
		return nil, err
	}
	own, ok := s.works[layer]
	if !ok {
		return nil, fmt.Errorf("no stage has layer %d", layer)
	}
	own.Measured = w.Measured
	return &planner.Work{Work: own, Border: w.Border}, nil // without Whole: changes of strategy are in the works
}
