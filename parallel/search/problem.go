package search

import (
	"fmt"
	"math"
	"slices"

	"github.com/galvani-ml/galvani/parallel"
)

// Cost is what a layer costs under a strategy, on the rank that has the most.
type Cost struct {
	// Time is that of a micro-batch, forward and backward, with all exchanges
	// but the reduction of gradients.
	Time float64
	// Sync is what the last micro-batch of a step takes more: the part of the
	// reduction of gradients that its backward pass does not hide.
	Sync float64
	// States is what stays through a step: parameters, gradients, moments.
	States int64
	// Activation is what a micro-batch in flight keeps for its backward pass.
	Activation int64
	// Peak is what the layer's own passes need for a while beside that:
	// recomputed activations, gathered parameters, workspace.
	Peak int64
	// Receive and Send are added to Time where the layer is the first of a
	// stage that has one before it, or the last of one that has one after it.
	Receive, Send float64
}

// Layer is a layer with the strategies that it may have. Layers that are equal
// should be the same pointer: the search solves a run of them once.
type Layer struct {
	Name       string
	Strategies []parallel.Strategy // may be empty where no plan is made of a solution
	Costs      []Cost              // of each strategy, for the problem's micro-batch
}

// Extra is what a stage has beside its layers, whatever their strategies.
type Extra struct {
	Time, Sync         float64
	States, Activation int64 // Activation is of one micro-batch in flight
}

// Problem is one cell of a sweep: a model, a number of stages and of
// micro-batches, and the memory there is.
type Problem struct {
	Layers []*Layer
	// Before and After count the layers at either end that belong to the first
	// and the last stage beside its blocks, as the embedding and the head.
	// Partitions count the layers between, the blocks; a stage has at least one.
	Before, After int
	Stages        int
	Micro         int
	Schedule      parallel.Schedule
	// Budget is the memory of a rank of each stage; one value stands for all.
	Budget []int64
	// Grid is the unit that the memory of a layer is rounded up to. 0 chooses:
	// 1 MiB where layers take GiB, less for small models.
	Grid int64
	// Hidden is the share of a stage's C, 0 to 1, during which the reductions
	// of the stages after it, which are done earlier, go on unseen. The backward
	// pass is about 2/3. 0 hides nothing.
	Hidden float64
	// Shared is the number of ranks of a stage over the number that can compute
	// at once, where all stages share processors: a step takes no less than
	// Shared times what the stages compute one after the other. 0 where every
	// rank has a device of its own.
	Shared float64
	// Fixed is added to the time of a step, whatever the plan.
	Fixed float64
	// Change returns the time that a micro-batch takes, forward and backward, to
	// change from strategy s of a layer to strategy t of the next one in the same
	// stage. nil if nothing.
	Change      func(from *Layer, s int, to *Layer, t int) float64
	First, Last Extra // of the first and the last stage; both where there is one stage
}

// check reports what makes a problem no problem.
func (p *Problem) check() error {
	blocks := len(p.Layers) - p.Before - p.After
	switch {
	case p.Stages < 1 || p.Micro < 1 || p.Before < 0 || p.After < 0:
		return fmt.Errorf("search: %d stages, %d micro-batches, %d and %d layers around the blocks: need at least 1, 1, 0 and 0", p.Stages, p.Micro, p.Before, p.After)
	case blocks < p.Stages:
		return &parallel.StagesError{PP: p.Stages, Blocks: max(0, blocks), Problem: "more stages than blocks"}
	case len(p.Budget) != 1 && len(p.Budget) != p.Stages:
		return fmt.Errorf("search: %d memory budgets for %d stages: give one, or one a stage", len(p.Budget), p.Stages)
	case p.Grid < 0 || !(p.Hidden >= 0 && p.Hidden <= 1):
		return fmt.Errorf("search: memory grid %d, hidden share %v: need at least 0 and 0 to 1", p.Grid, p.Hidden)
	case !(p.Shared >= 0 && p.Fixed >= 0) || math.IsInf(p.Shared+p.Fixed, 0):
		return fmt.Errorf("search: shared processors %v, fixed time %v: need at least 0", p.Shared, p.Fixed)
	case p.Schedule != parallel.GPipe && p.Schedule != parallel.OneFOneB:
		return fmt.Errorf("search: schedule %q: must be one of %v", p.Schedule, parallel.Schedules())
	}
	for i, l := range p.Layers {
		if len(l.Costs) == 0 || len(l.Strategies) != 0 && len(l.Strategies) != len(l.Costs) {
			return fmt.Errorf("search: layer %d (%s) has %d costs for %d strategies", i, l.Name, len(l.Costs), len(l.Strategies))
		}
		for s, c := range l.Costs {
			if !c.valid() {
				return fmt.Errorf("search: layer %d (%s), strategy %d: cost %+v: times must be finite, nothing may be negative", i, l.Name, s, c)
			}
		}
	}
	for _, e := range []Extra{p.First, p.Last} {
		if !(Cost{Time: e.Time, Sync: e.Sync, States: e.States, Activation: e.Activation}).valid() {
			return fmt.Errorf("search: extra of an end stage %+v: times must be finite, nothing may be negative", e)
		}
	}
	return nil
}

// valid says that times are finite and nothing is negative.
func (c Cost) valid() bool {
	for _, t := range []float64{c.Time, c.Sync, c.Receive, c.Send} {
		if !(t >= 0) || math.IsInf(t, 0) {
			return false
		}
	}
	return c.States >= 0 && c.Activation >= 0 && c.Peak >= 0
}

// Inflight returns how many micro-batches a stage holds at most.
func (p *Problem) Inflight(stage int) int { return p.Schedule.Slots(p.Stages, stage, p.Micro) }

// budget returns the memory of a rank of the stage.
func (p *Problem) budget(stage int) int64 {
	if len(p.Budget) == 1 {
		return p.Budget[0]
	}
	return p.Budget[stage]
}

// extra returns what the stage has beside its layers.
func (p *Problem) extra(stage int) Extra {
	var e Extra
	if stage == 0 {
		e = e.plus(p.First)
	}
	if stage == p.Stages-1 {
		e = e.plus(p.Last)
	}
	return e
}

func (e Extra) plus(f Extra) Extra {
	return Extra{e.Time + f.Time, e.Sync + f.Sync, e.States + f.States, e.Activation + f.Activation}
}

// change is Change or nothing.
func (p *Problem) change(from *Layer, s int, to *Layer, t int) float64 {
	if p.Change == nil {
		return 0
	}
	return p.Change(from, s, to, t)
}

// Score returns the time of a step:
//
//	max(sum_i C_i + (m-1) max_i C_i, Shared m sum_i C_i) + max_i (e_i - Hidden sum_{j<i} C_j) + Fixed
//
// the way of the first micro-batch through all stages and the slowest stage's
// other micro-batches, or if that is more the work of all stages on processors
// that they share, and what of the reductions is left when the first stage is
// through its last backward pass.
func (p *Problem) Score(stages []Point) float64 {
	var sum, slowest, tail float64
	for _, s := range stages {
		tail = max(tail, s.Sync-p.Hidden*sum)
		sum += s.Time
		slowest = max(slowest, s.Time)
	}
	return sum + p.waiting(sum, slowest) + tail + p.Fixed
}

// waiting returns what the micro-batches after the first add to a step whose
// stages take so much in sum and at most.
func (p *Problem) waiting(sum, slowest float64) float64 {
	if math.IsInf(sum, 1) {
		return sum // nothing fits, and 0 times that is nothing
	}
	return max(float64(p.Micro-1)*slowest, (p.Shared*float64(p.Micro)-1)*sum)
}

// grid returns Grid or the unit chosen: the power of two that divides what the
// layers take at least into some 2^14 parts, at most 1 MiB. It does not depend
// on the budget, and is no coarser for a larger space, so that more memory or
// more strategies never give a slower plan.
func (p *Problem) grid() int64 {
	if p.Grid > 0 {
		return p.Grid
	}
	var least int64
	for _, l := range p.Layers {
		m := int64(math.MaxInt64)
		for _, c := range l.Costs {
			m = min(m, c.States+c.Activation)
		}
		least += m
	}
	unit := int64(1)
	for unit < 1<<20 && unit*2 <= least>>14 {
		unit *= 2
	}
	return unit
}

// layersOf returns the first layer and the number of layers of a stage that
// begins at a block.
func (p *Problem) layersOf(stage, block, blocks int) (first, count int) {
	first, count = p.Before+block, blocks
	if stage == 0 {
		first, count = 0, count+p.Before
	}
	if stage == p.Stages-1 {
		count += p.After
	}
	return first, count
}

// blocks returns the number of layers that partitions divide.
func (p *Problem) blocks() int { return len(p.Layers) - p.Before - p.After }

// Memory returns what the stage needs at its worst moment when its layers, from
// the first one on, have these strategies. All micro-batches in flight are held
// when the backward pass of the youngest begins; it frees layer by layer from
// the last, so layer l's own peak meets the activations up to l of this
// micro-batch and all of the others.
func (p *Problem) Memory(stage, first int, choice []int) int64 {
	q := int64(p.Inflight(stage))
	x := p.extra(stage)
	held := x.States + q*x.Activation
	worst := held
	for l, s := range choice {
		c := p.Layers[first+l].Costs[s]
		held += c.States + q*c.Activation
		worst = max(worst+c.States+(q-1)*c.Activation, held+c.Peak)
	}
	return worst
}

// Times returns C and e of the stage when its layers, from the first one on,
// have these strategies.
func (p *Problem) Times(stage, first int, choice []int) (time, sync float64) {
	x := p.extra(stage)
	time, sync = x.Time, x.Sync
	for l, s := range choice {
		layer := p.Layers[first+l]
		c := layer.Costs[s]
		time, sync = time+c.Time, sync+c.Sync
		switch {
		case l > 0:
			time += p.change(p.Layers[first+l-1], choice[l-1], layer, s)
		case stage > 0:
			time += c.Receive
		}
		if l == len(choice)-1 && stage < p.Stages-1 {
			time += c.Send
		}
	}
	return time, sync
}

// floor returns a time that no plan is faster than, whatever the memory: every
// layer at its fastest, the stages equally slow.
func (p *Problem) floor() float64 {
	sum := p.floors()[len(p.Layers)] + p.First.Time + p.Last.Time
	return sum + p.waiting(sum, sum/float64(p.Stages)) + p.Fixed
}

// floors returns what the layers before each one, and before the end, take when
// every one is at its fastest.
func (p *Problem) floors() []float64 {
	sums := make([]float64, len(p.Layers)+1)
	for i, l := range p.Layers {
		least := math.Inf(1)
		for _, c := range l.Costs {
			least = min(least, c.Time)
		}
		sums[i+1] = sums[i] + least
	}
	return sums
}

// alike returns the time of the fastest plan with one strategy for all layers,
// but for checkpoints, and even stages. Infinite where none fits.
func (p *Problem) alike(partition []int) float64 {
	least := math.Inf(1)
	for _, s := range p.Layers[len(p.Layers)/2].Strategies {
		if choice := p.everywhere(s); choice != nil {
			least = min(least, p.time(partition, choice))
		}
	}
	return least
}

// everywhere returns the choice of a strategy for all layers, without the
// checkpoint where a layer has it only so; nil where a layer does not have it.
func (p *Problem) everywhere(s parallel.Strategy) []int {
	plain := s
	plain.Checkpoint = false
	choice := make([]int, len(p.Layers))
	for i, l := range p.Layers {
		if i > 0 && l == p.Layers[i-1] {
			choice[i] = choice[i-1]
			continue
		}
		if choice[i] = slices.Index(l.Strategies, s); choice[i] < 0 {
			choice[i] = slices.Index(l.Strategies, plain)
		}
		if choice[i] < 0 {
			return nil
		}
	}
	return choice
}

// time returns the time of a plan, infinite where it does not fit.
func (p *Problem) time(partition, choice []int) float64 {
	points := make([]Point, len(partition))
	block := 0
	for i, n := range partition {
		first, count := p.layersOf(i, block, n)
		if p.Memory(i, first, choice[first:first+count]) > p.budget(i) {
			return math.Inf(1)
		}
		points[i].Time, points[i].Sync = p.Times(i, first, choice[first:first+count])
		block += n
	}
	return p.Score(points)
}
