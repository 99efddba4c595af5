package bench

import (
	"math/rand/v2"
	"slices"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/search"
)

// What the plans of the suite predict are made of.
var (
	predictParadigms = []search.Paradigm{search.DP, search.ZeRO1, search.ZeRO2, search.SDP, search.TP}
	predictMicros    = []int{1, 2, 4}
)

// everyPlan lists the plans of a small space that fit a model, the workers and the
// batch: pipelines of all degrees, under both schedules, of stages under all
// strategies of dp, ZeRO and tp, with and without checkpointing, each in a few
// numbers of micro-batches; and beside those of one strategy some whose first
// half has another.
func everyPlan(f parallel.Facts, workers, batch int) []*parallel.Plan {
	space := search.Space{Devices: workers, Paradigms: predictParadigms, OneOrder: true}
	var all []*parallel.Plan
	for _, stages := range space.Stages() {
		for _, micro := range predictMicros {
			for _, schedule := range []parallel.Schedule{parallel.OneFOneB, parallel.GPipe} {
				if schedule == parallel.GPipe && (stages == 1 || micro == 1) {
					continue // is the same
				}
				base := parallel.Default()
				base.PP, base.Micro, base.Schedule = stages, micro, schedule
				for _, p := range append(uniformPlans(base, space.Strategies(stages)), mixedPlans(base, f, space.Strategies(stages))...) {
					if p.Validate(f, workers, batch) == nil {
						all = append(all, p)
					}
				}
			}
		}
	}
	return all
}

// uniformPlans gives all layers one strategy; only blocks are checkpointed.
func uniformPlans(base *parallel.Plan, strategies []parallel.Strategy) []*parallel.Plan {
	var all []*parallel.Plan
	for _, s := range strategies {
		for _, checkpoint := range []bool{false, true} {
			p := *base
			p.Strategy = s
			p.Strategy.Checkpoint = checkpoint
			all = append(all, &p)
		}
	}
	return all
}

// mixedPlans gives the first half of the blocks one strategy, which is
// checkpointed, and all other layers the next one.
func mixedPlans(base *parallel.Plan, f parallel.Facts, strategies []parallel.Strategy) []*parallel.Plan {
	var all []*parallel.Plan
	for i, s := range strategies {
		first, rest := s, strategies[(i+1)%len(strategies)]
		first.Checkpoint = true
		p := *base
		p.Layers = slices.Repeat([]parallel.Strategy{rest}, f.Blocks+2)
		for b := range f.Blocks / 2 {
			p.Layers[1+b] = first
		}
		all = append(all, &p)
	}
	return all
}

// somePlans draws at most so many, the same each time, and keeps their order.
func somePlans(all []*parallel.Plan, most int) []*parallel.Plan {
	if len(all) <= most {
		return all
	}
	places := rand.New(rand.NewPCG(seed, uint64(len(all)))).Perm(len(all))[:most]
	slices.Sort(places)
	var kept []*parallel.Plan
	for _, i := range places {
		kept = append(kept, all[i])
	}
	return kept
}
