package search

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/dustin/go-humanize"
)

// InfeasibleError says that nothing fits in memory, and what comes closest.
type InfeasibleError struct {
	Stages, Micro int
	// Closest is the way that lacks least on the stage that lacks most. Its
	// Time is what it would take if it fitted.
	Closest *Solution
	Stage   int   // that lacks most
	Needs   int64 // bytes, on the search's grid
	Budget  int64
}

// Lacks returns the bytes missing on the stage that lacks most.
func (e *InfeasibleError) Lacks() int64 { return e.Needs - e.Budget }

// Error says what lacks where.
func (e *InfeasibleError) Error() string {
	size := func(bytes int64) string { return humanize.IBytes(uint64(max(0, bytes))) }
	return fmt.Sprintf("nothing fits in memory: pp=%d micro=%d: the closest plan needs %s on stage %d, which has %s: %s (%d bytes) more, or more devices, or a smaller micro-batch",
		e.Stages, e.Micro, size(e.Needs), e.Stage, size(e.Budget), size(e.Lacks()), e.Lacks())
}

// slim is the way to run a stage's first layers that needs least memory.
type slim struct {
	held, worst    int64 // cells
	parent, option int
}

// slims returns, for every number of layers from the first one on, the ways
// that need least: of those that hold more, the ones with a lower peak.
func (s *Solver) slims(layers []*Layer, inflight int) [][]slim {
	levels := [][]slim{{{}}}
	for _, layer := range layers {
		var next []slim
		for parent, b := range levels[len(levels)-1] {
			for i, c := range layer.Costs {
				o := s.option(c, i, inflight)
				held := b.held + o.held
				next = append(next, slim{held, max(held+o.peak, b.worst+o.held-o.own), parent, i})
			}
		}
		slices.SortFunc(next, func(a, b slim) int {
			return cmp.Or(cmp.Compare(a.held, b.held), cmp.Compare(a.worst, b.worst), cmp.Compare(a.parent, b.parent), cmp.Compare(a.option, b.option))
		})
		kept := next[:0]
		for _, x := range next {
			if len(kept) == 0 || x.worst < kept[len(kept)-1].worst {
				kept = append(kept, x)
			}
		}
		levels = append(levels, kept)
	}
	return levels
}

// lack is the least shortfall, in cells, of the stages from one on.
type lack struct {
	cells int64
	count int // blocks of the first of these stages
}

// infeasible explains why nothing fits: for a partition, or for all if that is
// nil.
func (s *Solver) infeasible(partition []int) *InfeasibleError {
	p, blocks := s.problem, s.problem.blocks()
	lacks := make([][]lack, p.Stages+1)
	for i := range lacks {
		lacks[i] = slices.Repeat([]lack{{math.MaxInt64, 0}}, blocks+1)
	}
	lacks[p.Stages][blocks] = lack{math.MinInt64, 0}
	for stage := p.Stages - 1; stage >= 0; stage-- {
		from, to := stage, blocks-p.Stages+stage // where the stage may begin
		if stage == 0 {
			to = 0
		}
		if partition != nil {
			from = sumOf(partition[:stage])
			to = from
		}
		for first := from; first <= to; first++ {
			s.lack(lacks, stage, first, partition)
		}
	}
	return s.closest(lacks)
}

// lack fills in the least shortfall from a stage on that begins at a block.
func (s *Solver) lack(lacks [][]lack, stage, first int, partition []int) {
	p, blocks := s.problem, s.problem.blocks()
	begin, layers := p.layersOf(stage, first, blocks-first)
	levels := s.slims(p.Layers[begin:begin+layers], p.Inflight(stage))
	for last := first + 1; last <= blocks; last++ {
		after := lacks[stage+1][last].cells
		if after == math.MaxInt64 || partition != nil && partition[stage] != last-first {
			continue
		}
		_, n := p.layersOf(stage, first, last-first)
		least := levels[n][len(levels[n])-1].worst
		if worst := max(after, least-s.left(stage)); worst < lacks[stage][first].cells {
			lacks[stage][first] = lack{worst, last - first}
		}
	}
}

// closest follows the least shortfall from the first stage on.
func (s *Solver) closest(lacks [][]lack) *InfeasibleError {
	p := s.problem
	e := &InfeasibleError{Stages: p.Stages, Micro: p.Micro, Closest: &Solution{}}
	most := int64(math.MinInt64)
	block := 0
	for stage := range p.Stages {
		n := lacks[stage][block].count
		begin, layers := p.layersOf(stage, block, n)
		levels := s.slims(p.Layers[begin:begin+layers], p.Inflight(stage))
		at := len(levels[layers]) - 1
		if over := levels[layers][at].worst - s.left(stage); over > most {
			most = over
			e.Stage, e.Budget = stage, p.budget(stage)
			e.Needs = e.Budget/s.unit*s.unit + over*s.unit
		}
		choice := make([]int, layers)
		for l := layers; l > 0; l-- {
			choice[l-1], at = levels[l][at].option, levels[l][at].parent
		}
		time, sync := p.Times(stage, begin, choice)
		e.Closest.Partition = append(e.Closest.Partition, n)
		e.Closest.Stages = append(e.Closest.Stages, Point{time, sync, p.Memory(stage, begin, choice), choice})
		block += n
	}
	e.Closest.Time = p.Score(e.Closest.Stages)
	return e
}

func sumOf(xs []int) int {
	sum := 0
	for _, x := range xs {
		sum += x
	}
	return sum
}
