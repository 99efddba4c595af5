package search

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/galvani-ml/galvani/parallel"
)

// checkPartition reports a partition that does not fit the problem.
func (s *Solver) checkPartition(partition []int) error {
	sum := sumOf(partition)
	if len(partition) != s.problem.Stages || sum != s.problem.blocks() || slices.Min(partition) < 1 {
		return &parallel.StagesError{PP: s.problem.Stages, Stages: partition, Blocks: s.problem.blocks(), Problem: fmt.Sprintf("%d stages with %d blocks in all", len(partition), sum)}
	}
	return nil
}

// Even returns the partition of stages of equal size, the first ones with one
// block more where that is not exact.
func (s *Solver) Even() []int { return even(s.problem.blocks(), s.problem.Stages) }

// TimeBalanced returns the partition whose slowest stage is fastest when every
// layer has its fastest strategy.
func (s *Solver) TimeBalanced() []int {
	return s.balanced(func(_ int, c Cost) float64 { return c.Time })
}

// MemoryBalanced returns the partition whose fullest stage holds least when
// every layer has its fastest strategy. With 1F1B the first stages hold more
// micro-batches and get fewer layers.
func (s *Solver) MemoryBalanced() []int {
	return s.balanced(func(stage int, c Cost) float64 {
		return float64(c.States + int64(s.problem.Inflight(stage))*c.Activation)
	})
}

// balanced returns the partition with the least largest sum of a weight. Of
// several it takes the one with the least sum of squares.
func (s *Solver) balanced(weigh func(stage int, c Cost) float64) []int {
	p, blocks := s.problem, s.problem.blocks()
	type best struct {
		largest, squares float64
		count            int
	}
	after := make([][]best, p.Stages+1)
	for i := range after {
		after[i] = slices.Repeat([]best{{math.Inf(1), math.Inf(1), 0}}, blocks+1)
	}
	after[p.Stages][blocks] = best{}
	for stage := p.Stages - 1; stage >= 0; stage-- {
		prefix := make([]float64, len(p.Layers)+1)
		for l, layer := range p.Layers {
			fastest := slices.MinFunc(layer.Costs, func(a, b Cost) int { return cmp.Compare(a.Time, b.Time) })
			prefix[l+1] = prefix[l] + weigh(stage, fastest)
		}
		for first := range blocks {
			for count := 1; first+count <= blocks; count++ {
				begin, layers := p.layersOf(stage, first, count)
				sum := prefix[begin+layers] - prefix[begin]
				a := after[stage+1][first+count]
				x := best{max(a.largest, sum), a.squares + sum*sum, count}
				if b := after[stage][first]; x.largest < b.largest || x.largest == b.largest && x.squares < b.squares {
					after[stage][first] = x
				}
			}
		}
	}
	partition := make([]int, p.Stages)
	first := 0
	for stage := range partition {
		partition[stage] = after[stage][first].count
		first += partition[stage]
	}
	return partition
}

// MemoryBalance is 1 less the share of the fullest stage in the memory of all:
// 0 to 1-1/P, larger where it is more balanced.
func (s *Solution) MemoryBalance() float64 {
	return balance(s.Stages, func(p Point) float64 { return float64(p.Memory) })
}

// TimeBalance is MemoryBalance for C.
func (s *Solution) TimeBalance() float64 {
	return balance(s.Stages, func(p Point) float64 { return p.Time })
}

func balance(stages []Point, weigh func(Point) float64) float64 {
	var sum, largest float64
	for _, p := range stages {
		sum, largest = sum+weigh(p), max(largest, weigh(p))
	}
	if sum == 0 {
		return 1 - 1/float64(len(stages))
	}
	return 1 - largest/sum
}

// BMW returns the best plan of Galvatron-BMW's bi-objective search over
// partitions, or an [InfeasibleError] where none that it tried fits.
//
// The procedure is told from memory of the paper: begin with the memory-balanced
// partition; move a block at a border of the slowest stage to its neighbour;
// take the new partition up if (1) no stage is slower than the slowest was, (2)
// every stage fits, and (3) its memory balance is at least that of the
// time-balanced partition; go on until nothing is left, and keep the best. Here
// it begins at the even and the time-balanced partition too, so that it is never
// worse than either, and where none of the three fits at the partition that needs
// least, so that it finds a plan where there is one. Every partition has its exact
// time.
func (s *Solver) BMW() (*Solution, error) {
	if best := s.bmw(s.beginnings()...); best != nil {
		return best, nil
	}
	closest := s.infeasible(nil)
	if best := s.bmw(closest.Closest.Partition); best != nil {
		return best, nil
	}
	return nil, closest
}

// beginnings are the partitions that BMW begins at.
func (s *Solver) beginnings() [][]int {
	return [][]int{s.MemoryBalanced(), s.TimeBalanced(), s.Even()}
}

// bmw is BMW from some partitions, nil where none of them fits.
func (s *Solver) bmw(begins ...[]int) *Solution {
	b := bmw{solver: s, seen: map[string]bool{}, least: math.Inf(-1)}
	if t := s.compose(fixed(s.TimeBalanced()), nil, math.Inf(1)); t != nil {
		b.least = t.MemoryBalance()
	}
	for _, p := range begins {
		if solution := s.compose(fixed(p), nil, math.Inf(1)); solution != nil {
			b.offer(solution)
		}
	}
	for len(b.queue) > 0 {
		next := b.queue[0]
		b.queue = b.queue[1:]
		b.adjust(next)
	}
	return b.best
}

// bmw is the state of the bi-objective search.
type bmw struct {
	solver *Solver
	seen   map[string]bool // partitions
	queue  []*Solution
	least  float64 // memory balance of the time-balanced partition
	best   *Solution
}

// offer takes a solution into the queue.
func (b *bmw) offer(s *Solution) {
	if key := fmt.Sprint(s.Partition); !b.seen[key] {
		b.seen[key] = true
		b.queue = append(b.queue, s)
	}
	if b.best == nil || s.Time < b.best.Time {
		b.best = s
	}
}

// adjust moves a block from the slowest stage to each neighbour.
func (b *bmw) adjust(s *Solution) {
	slowest := 0
	for i, p := range s.Stages {
		if p.Time > s.Stages[slowest].Time {
			slowest = i
		}
	}
	for _, neighbour := range []int{slowest - 1, slowest + 1} {
		if neighbour < 0 || neighbour >= len(s.Stages) || s.Partition[slowest] == 1 {
			continue
		}
		moved := slices.Clone(s.Partition)
		moved[slowest]--
		moved[neighbour]++
		if b.seen[fmt.Sprint(moved)] {
			continue
		}
		if next := b.solver.compose(fixed(moved), nil, math.Inf(1)); next != nil && next.slowest() <= s.slowest() && next.MemoryBalance() >= b.least {
			b.offer(next)
		}
	}
}

// slowest returns the largest C.
func (s *Solution) slowest() float64 {
	slowest := 0.0
	for _, p := range s.Stages {
		slowest = max(slowest, p.Time)
	}
	return slowest
}
