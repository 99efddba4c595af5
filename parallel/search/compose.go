package search

import (
	"cmp"
	"math"
	"runtime"
	"slices"
	"sync"
)

// Solve returns the fastest way to run a partition, a number of blocks for each
// stage, or an [InfeasibleError].
func (s *Solver) Solve(partition []int) (*Solution, error) {
	if err := s.checkPartition(partition); err != nil {
		return nil, err
	}
	solution := s.compose(fixed(partition), nil, math.Inf(1))
	if solution == nil {
		return nil, s.infeasible(partition)
	}
	return solution, nil
}

// Exact returns the fastest way over all partitions, or an [InfeasibleError].
func (s *Solver) Exact() (*Solution, error) {
	solution := s.compose(s.problem.anywhere(), s.bmw(s.beginnings()...), math.Inf(1))
	if solution == nil {
		return nil, s.infeasible(nil)
	}
	return solution, nil
}

// Bound returns a time that no plan of the problem is faster than: infinite where
// nothing fits, the limit or more where it can tell that no plan takes less. It
// costs little.
func (s *Solver) Bound(limit float64) float64 {
	if goal := s.problem.goal(); goal != (weight{}) {
		x, cells := s.problem.extra(0), s.left(0)
		least, ok := s.tails(s.stage(0, 0, len(s.problem.Layers), cells), goal)[0].least(cells)
		if !ok {
			return math.Inf(1)
		}
		return least + goal.of(x.Time, x.Time+x.Sync) + s.problem.Fixed
	}
	c := s.composer(s.problem.anywhere(), limit)
	b := c.before[len(c.before)-1][s.problem.blocks()]
	return b.sum + s.problem.waiting(b.sum, b.slowest) + s.problem.Fixed
}

// composer puts the fronts of stages together.
type composer struct {
	*Solver
	windows []window      // of each stage
	least   [][][]float64 // bound of C by stage, and begin and end in its window
	before  [][]pipe      // bounds of the stages before one, by its first block
	known   *Solution     // the best so far
	limit   float64       // seconds that a plan must take less than
	floors  []float64     // times of the layers before one, each at its fastest
	sums    [][][]sum     // by stage and first block
}

// window says where a stage may begin and end: blocks, the last of each range
// included. It ends before the block of its end.
type window struct{ begins, ends [2]int }

// fixed returns the windows of one partition.
func fixed(partition []int) []window {
	windows := make([]window, len(partition))
	block := 0
	for i, n := range partition {
		windows[i] = window{[2]int{block, block}, [2]int{block + n, block + n}}
		block += n
	}
	return windows
}

// anywhere returns the windows of all partitions.
func (p *Problem) anywhere() []window {
	windows := make([]window, p.Stages)
	for i := range windows {
		most := p.blocks() - p.Stages + i
		windows[i] = window{[2]int{i, most}, [2]int{i + 1, most + 1}}
	}
	windows[0].begins[1] = 0
	windows[p.Stages-1].ends[0] = p.blocks()
	return windows
}

// pipe is what stages take at least.
type pipe struct{ sum, slowest float64 }

// sum is a way to run the stages from one on.
type sum struct {
	total   float64 // of C
	reduced float64 // Hidden*total, and what is left then of the reductions of these stages
	slowest float64
	count   int // blocks of the first of the stages
	point   int // on its front
	after   int // sum of the stages after it
}

// compose finds the best way within the windows that takes less than the limit,
// nil where there is none. It returns the known one where none is faster.
func (s *Solver) compose(windows []window, known *Solution, limit float64) *Solution {
	if known != nil {
		limit = min(limit, known.Time)
	}
	c := s.composer(windows, limit)
	c.known = known
	c.sums = make([][][]sum, s.problem.Stages+1)
	blocks := s.problem.blocks()
	c.sums[s.problem.Stages] = make([][]sum, blocks+1)
	c.sums[s.problem.Stages][blocks] = []sum{{}}
	for stage := s.problem.Stages - 1; stage >= 0; stage-- {
		c.step(stage)
	}
	for i, x := range c.sums[0][0] {
		if c.score(0, 0, x) < c.limit {
			c.known = c.trace(i)
			c.limit = c.known.Time
		}
	}
	return c.known
}

// composer prepares the bounds: what a stage takes at least, changes left out,
// and from that what the stages before any one take.
func (s *Solver) composer(windows []window, limit float64) *composer {
	c := &composer{Solver: s, windows: windows, limit: limit, floors: s.problem.floors()}
	p, blocks := s.problem, s.problem.blocks()
	c.before = make([][]pipe, p.Stages+1)
	for i := range c.before {
		c.before[i] = slices.Repeat([]pipe{{math.Inf(1), math.Inf(1)}}, blocks+1)
	}
	c.before[0][0] = pipe{}
	c.least = make([][][]float64, p.Stages)
	for stage, w := range windows {
		c.least[stage] = make([][]float64, w.begins[1]-w.begins[0]+1)
		for i := range c.least[stage] {
			c.least[stage][i] = slices.Repeat([]float64{math.Inf(1)}, w.ends[1]-w.ends[0]+1)
		}
		for end := w.ends[0]; end <= w.ends[1]; end++ {
			c.bound(stage, end)
		}
	}
	return c
}

// bound fills the bounds of a stage with one end, and of what the stages up to
// there take. Beginnings with which it alone takes too long are left out.
func (c *composer) bound(stage, end int) {
	p, w := c.problem, c.windows[stage]
	x, cells := p.extra(stage), c.left(stage)
	earliest := min(w.begins[1], end-1) + 1
	for earliest > w.begins[0] && c.quick(stage, earliest-1, end) {
		earliest--
	}
	first, layers := p.layersOf(stage, earliest, end-earliest)
	if earliest == end {
		return
	}
	tails := c.tails(c.stage(stage, first, layers, cells), weight{1, 0})
	to := &c.before[stage+1][end]
	for begin := earliest; begin <= w.begins[1] && begin < end; begin++ {
		least, ok := tails[begin-earliest].least(cells)
		if !ok {
			continue
		}
		least += x.Time
		c.least[stage][begin-w.begins[0]][end-w.ends[0]] = least
		b := c.before[stage][begin]
		to.sum = min(to.sum, b.sum+least)
		to.slowest = min(to.slowest, max(b.slowest, least))
	}
}

// quick says that a stage may be part of a plan that takes less than the limit
// if memory is no matter.
func (c *composer) quick(stage, begin, end int) bool {
	first, layers := c.problem.layersOf(stage, begin, end-begin)
	sum := c.floors[len(c.floors)-1] + c.problem.First.Time + c.problem.Last.Time
	slowest := c.floors[first+layers] - c.floors[first] + c.problem.extra(stage).Time
	return sum+c.problem.waiting(sum, slowest)+c.problem.Fixed < c.limit
}

// score returns what a step takes at least with a way to run the stages from
// one on; exactly, if that is the first.
func (c *composer) score(stage, first int, x sum) float64 {
	b, h := c.before[stage][first], c.problem.Hidden
	total := x.total + b.sum
	return (1-h)*total + max(x.reduced, h*total) + c.problem.waiting(total, max(x.slowest, b.slowest)) + c.problem.Fixed
}

// wins says that a step may take less than the limit.
func (c *composer) wins(stage, first int, x sum) bool {
	return c.score(stage, first, x) < c.limit*(1-slight)
}

// candidate is a stage that may be part of a better plan.
type candidate struct {
	first, count int
	least        Point // with bounds of C and S, infinite where nothing fits
	front        []Point
}

// step adds a stage before all ways to run the stages after it.
func (c *composer) step(stage int) {
	c.sums[stage] = make([][]sum, c.problem.blocks()+1)
	candidates := c.candidates(stage)
	c.tighten(stage, candidates)
	candidates = slices.DeleteFunc(candidates, func(x candidate) bool { return !c.hopeful(stage, x) })
	parallelDo(len(candidates), func(i int) {
		x := &candidates[i]
		begin, layers := c.problem.layersOf(stage, x.first, x.count)
		x.front = c.points(stage, begin, layers)
	})
	for _, x := range candidates {
		c.extend(stage, x)
	}
	for first, sums := range c.sums[stage] {
		c.sums[stage][first] = unbeatenSums(sums)
	}
}

// candidates lists the stages whose bound, with the best that may come before
// and after, is below the limit.
func (c *composer) candidates(stage int) []candidate {
	var all []candidate
	w := c.windows[stage]
	for i, ends := range c.least[stage] {
		for j, least := range ends {
			begin, end := w.begins[0]+i, w.ends[0]+j
			x := candidate{first: begin, count: end - begin, least: Point{Time: least}}
			if c.hopeful(stage, x) {
				all = append(all, x)
			}
		}
	}
	return all
}

// hopeful says that a stage with its bound is part of a plan that may take
// less than the limit.
func (c *composer) hopeful(stage int, x candidate) bool {
	return !math.IsInf(x.least.Time, 1) && slices.ContainsFunc(c.sums[stage+1][x.first+x.count], func(a sum) bool {
		return c.wins(stage, x.first, a.with(x.least, c.problem.Hidden))
	})
}

// tighten replaces the bounds by the least C and the least S that there is, for
// which the program has one value. Where all stages are given, their fronts are
// needed anyway.
func (c *composer) tighten(stage int, candidates []candidate) {
	if math.IsInf(c.limit, 1) || c.problem.Stages == 1 {
		return
	}
	x := c.problem.extra(stage)
	parallelDo(len(candidates), func(i int) {
		y := &candidates[i]
		begin, layers := c.problem.layersOf(stage, y.first, y.count)
		st := c.stage(stage, begin, layers, c.left(stage))
		st.goal = weight{1, 0}
		fastest := c.front(st)
		if len(fastest) == 0 {
			y.least.Time = math.Inf(1)
			return
		}
		y.least.Time = x.Time + fastest[0].Time
		if c.hopeful(stage, *y) {
			st.goal = weight{0, 1}
			synced := c.front(st)[0]
			y.least.Sync = max(0, x.Sync+synced.Time+synced.Sync-fastest[0].Time)
		}
	})
}

// with puts a stage before others.
func (x sum) with(p Point, hidden float64) sum {
	total := x.total + p.Time
	return sum{total: total, reduced: max(x.reduced, p.Sync+hidden*total), slowest: max(x.slowest, p.Time)}
}

// extend puts a stage before every way to run those after it.
func (c *composer) extend(stage int, x candidate) {
	for after, a := range c.sums[stage+1][x.first+x.count] {
		for i, p := range x.front {
			y := a.with(p, c.problem.Hidden)
			y.count, y.point, y.after = x.count, i, after
			if c.wins(stage, x.first, y) {
				c.sums[stage][x.first] = append(c.sums[stage][x.first], y)
			}
		}
	}
}

// unbeatenSums drops the sums that another beats, or equals, in everything.
func unbeatenSums(sums []sum) []sum {
	slices.SortFunc(sums, func(a, b sum) int {
		return cmp.Or(cmp.Compare(a.slowest, b.slowest), cmp.Compare(a.total, b.total), cmp.Compare(a.reduced, b.reduced),
			cmp.Compare(a.count, b.count), cmp.Compare(a.point, b.point), cmp.Compare(a.after, b.after))
	})
	var front peakFront
	kept := sums[:0]
	for _, x := range sums {
		if !front.beats(x.total, x.reduced) {
			front.add(x.total, x.reduced)
			kept = append(kept, x)
		}
	}
	return kept
}

// trace returns the solution of a way to run all stages.
func (c *composer) trace(i int) *Solution {
	solution := &Solution{}
	block := 0
	for stage := range c.problem.Stages {
		x := c.sums[stage][block][i]
		begin, layers := c.problem.layersOf(stage, block, x.count)
		solution.Partition = append(solution.Partition, x.count)
		solution.Stages = append(solution.Stages, c.points(stage, begin, layers)[x.point])
		block, i = block+x.count, x.after
	}
	solution.Time = c.problem.Score(solution.Stages)
	return solution
}

// parallelDo does n things on all processors.
func parallelDo(n int, do func(i int)) {
	var group sync.WaitGroup
	work := make(chan int)
	for range min(n, runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for i := range work {
				do(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	group.Wait()
}
