package search

import (
	"math"
	"slices"
)

// Brute tries every partition and every choice of strategies, and returns the
// least time of a step, infinite where nothing fits, and the number of ways to run
// a stage that it tried. It gives up at once, with ok false, where there are more
// than most. It shares no code with the search: what that finds can be held
// against it.
func (p *Problem) Brute(most float64) (least float64, ways float64, ok bool) {
	all := partitions(p.blocks(), p.Stages, int(min(most, 1e6)))
	if all == nil {
		return 0, 0, false
	}
	for _, partition := range all {
		block := 0
		for stage, n := range partition {
			first, count := p.layersOf(stage, block, n)
			product := 1.0
			for _, l := range p.Layers[first : first+count] {
				product *= float64(len(l.Costs))
			}
			ways, block = ways+product, block+n
		}
	}
	if ways > most {
		return 0, ways, false
	}
	least = math.Inf(1)
	for _, partition := range all {
		t, _ := p.brute(partition)
		least = min(least, t)
	}
	return least, ways, true
}

// partitions lists all ways to divide blocks among stages, nil where there are
// more than most.
func partitions(blocks, stages, most int) [][]int {
	if stages == 1 {
		return [][]int{{blocks}}
	}
	var all [][]int
	for n := 1; n <= blocks-stages+1; n++ {
		more := partitions(blocks-n, stages-1, most-len(all))
		if more == nil || len(all)+len(more) > most {
			return nil
		}
		for _, rest := range more {
			all = append(all, append([]int{n}, rest...))
		}
	}
	return all
}

// choices calls visit with every choice of strategies.
func choices(layers []*Layer, visit func([]int)) {
	choice := make([]int, len(layers))
	var fill func(int)
	fill = func(l int) {
		if l == len(layers) {
			visit(choice)
			return
		}
		for s := range layers[l].Costs {
			choice[l] = s
			fill(l + 1)
		}
	}
	fill(0)
}

// fits says that a stage fits, with the memory of every layer rounded to the
// grid.
func (p *Problem) fits(stage, first int, choice []int) bool {
	return p.gridMemory(stage, first, choice) <= p.budget(stage)/p.grid()*p.grid()
}

// gridMemory is Memory with everything rounded to the grid.
func (p *Problem) gridMemory(stage, first int, choice []int) int64 {
	g := p.grid()
	up := func(b int64) int64 { return (b + g - 1) / g * g }
	q := int64(p.Inflight(stage))
	x := p.extra(stage)
	var worst int64
	for at := range choice { // during the backward pass of layer at
		sum := up(x.States + q*x.Activation)
		for l, s := range choice {
			c := p.Layers[first+l].Costs[s]
			sum += up(c.States + q*c.Activation)
			if l > at {
				sum -= c.Activation / g * g
			}
			if l == at {
				sum += up(c.Peak)
			}
		}
		worst = max(worst, sum)
	}
	return worst
}

// brute returns the least time of a partition, infinite where nothing fits, and
// the least shortfall.
func (p *Problem) brute(partition []int) (least float64, lacks int64) {
	fronts := make([][]Point, p.Stages)
	block := 0
	lacks = math.MinInt64
	for stage, n := range partition {
		first, count := p.layersOf(stage, block, n)
		short := int64(math.MaxInt64)
		choices(p.Layers[first:first+count], func(choice []int) {
			short = min(short, p.gridMemory(stage, first, choice)-p.budget(stage)/p.grid()*p.grid())
			if p.fits(stage, first, choice) {
				time, sync := p.Times(stage, first, choice)
				if !slices.ContainsFunc(fronts[stage], func(q Point) bool { return q.Time <= time && q.Sync <= sync }) {
					fronts[stage] = append(fronts[stage], Point{Time: time, Sync: sync})
				}
			}
		})
		lacks = max(lacks, short)
		block += n
	}
	least = math.Inf(1)
	stages := make([]Point, p.Stages)
	var fill func(int)
	fill = func(i int) {
		if i == p.Stages {
			least = min(least, p.Score(stages))
			return
		}
		for _, stages[i] = range fronts[i] {
			fill(i + 1)
		}
	}
	fill(0)
	return least, lacks
}
