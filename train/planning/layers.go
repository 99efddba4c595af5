package planning

import (
	"runtime"
	"slices"

	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/search"
	"github.com/galvani-ml/galvani/train/profile"
)

// mostTokens bounds the tokens of the largest micro-batch that is measured: more
// take in proportion.
const mostTokens = 4096

// Layers says what to measure of the model's layers for the request: every way to
// split them that a strategy of the space has, or one of the others given, for
// few, more and many sequences.
func (r *Request) Layers(others ...parallel.Strategy) (profile.LayerOptions, error) {
	model, err := models.Build(r.Program.Model, models.Options{Batch: 1, Seq: r.Program.Seq, Train: true})
	if err != nil {
		return profile.LayerOptions{}, err
	}
	facts := parallel.FactsOf(model)
	o := profile.LayerOptions{Program: r.Program, Threads: r.Threads, Copies: min(r.Workers, max(1, runtime.GOMAXPROCS(0)/max(1, r.Threads)))}
	space := search.Space{Devices: r.Workers, Paradigms: r.Paradigms}
	for _, stages := range space.Stages() {
		if stages > facts.Blocks || len(r.Stages) > 0 && !slices.Contains(r.Stages, stages) {
			continue
		}
		for _, s := range space.Strategies(stages) {
			if shape := profile.Shape(s); facts.Admit(s) == nil && !slices.Contains(o.Shapes, shape) {
				o.Shapes = append(o.Shapes, shape)
			}
		}
	}
	for _, s := range others {
		if shape := profile.Shape(s); !slices.Contains(o.Shapes, shape) {
			o.Shapes = append(o.Shapes, shape)
		}
	}
	most := max(1, min(slices.Max(r.Batches), mostTokens/r.Program.Seq))
	for _, rows := range []int{1, max(1, most/4), most} {
		if !slices.Contains(o.Rows, rows) {
			o.Rows = append(o.Rows, rows)
		}
	}
	return o, nil
}
