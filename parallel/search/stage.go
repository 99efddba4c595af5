package search

import (
	"fmt"
	"strings"
	"sync"
)

// stage is what the front of a pipeline stage depends on.
type stage struct {
	layers   []*Layer
	inflight int
	cells    int64 // memory left for the layers
	receives bool  // there is a stage before it
	sends    bool  // and one after it
	// goal asks for the best way by one weight of C and S; the zero weight for
	// all that no other beats.
	goal weight
}

// key identifies the stage: runs of layers by number, and the rest.
func (s *Solver) key(st stage) string {
	var b strings.Builder
	fmt.Fprint(&b, st.inflight, st.cells, st.receives, st.sends, st.goal)
	s.mu.Lock()
	defer s.mu.Unlock()
	run := 0
	for l, layer := range st.layers {
		run++
		if l == len(st.layers)-1 || st.layers[l+1] != layer {
			fmt.Fprint(&b, " ", s.kinds[layer], "*", run)
			run = 0
		}
	}
	return b.String()
}

// Solver solves a problem. It keeps the fronts of stages, so several questions
// about one problem cost little more than one. It is safe for use by several
// goroutines, and what it answers does not depend on their number.
type Solver struct {
	problem *Problem
	*memory
}

// memory is what was found out about layers. Solvers of related problems share
// one.
type memory struct {
	unit int64 // bytes of a cell of memory

	mu      sync.Mutex
	kinds   map[*Layer]int
	fronts  map[string]*cachedFront
	borders map[[2]*Layer]*border
	bounds  map[tailKey]*tail
}

// cachedFront is a front that is computed once.
type cachedFront struct {
	once   sync.Once
	points []Point
}

// New checks the problem and returns its solver. The problem must not change
// while the solver is used.
func New(p *Problem) (*Solver, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	s := &Solver{problem: p, memory: &memory{
		unit: p.grid(), kinds: map[*Layer]int{}, fronts: map[string]*cachedFront{},
		borders: map[[2]*Layer]*border{}, bounds: map[tailKey]*tail{},
	}}
	s.number(p.Layers)
	return s, nil
}

// With returns the solver of another problem that has layers in common with this
// one, the same pointers with the same changes between them: what one solver finds
// out about these, the other knows. Memory is rounded as for this problem.
func (s *Solver) With(p *Problem) (*Solver, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	s.number(p.Layers)
	return &Solver{problem: p, memory: s.memory}, nil
}

// number gives layers that have none a number.
func (m *memory) number(layers []*Layer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range layers {
		if _, ok := m.kinds[l]; !ok {
			m.kinds[l] = len(m.kinds)
		}
	}
}

// Front returns the ways to run count layers, from the first one on, as a stage
// within its budget that no other way beats in both C and S, by rising C. It is
// empty where nothing fits. What the stage has beside its layers is in it.
func (s *Solver) Front(stage, first, count int) []Point {
	return s.priced(stage, first, s.front(s.stage(stage, first, count, s.left(stage))))
}

// points is Front without the points that no plan of the problem needs: of a
// single stage all that counts is their sum by one weight.
func (s *Solver) points(stage, first, count int) []Point {
	st := s.stage(stage, first, count, s.left(stage))
	st.goal = s.problem.goal()
	return s.priced(stage, first, s.front(st))
}

// goal returns the weight of the time of a single stage in the score, zero
// where there are more stages.
func (p *Problem) goal() weight {
	if p.Stages > 1 {
		return weight{}
	}
	return weight{p.waiting(1, 1), 1}
}

// priced adds to points what the stage has beside its layers, and memory.
func (s *Solver) priced(stage, first int, front []Point) []Point {
	points := make([]Point, len(front))
	for i, f := range front {
		time, sync := s.problem.Times(stage, first, f.Choice)
		points[i] = Point{Time: time, Sync: sync, Memory: s.problem.Memory(stage, first, f.Choice), Choice: f.Choice}
	}
	return points
}

// FrontWithin is Front for so many micro-batches in flight and bytes of memory,
// of a stage that is neither the first nor the last, without border costs.
func (s *Solver) FrontWithin(first, count, inflight int, budget int64) []Point {
	return s.front(stage{layers: s.problem.Layers[first : first+count], inflight: inflight, cells: budget / s.unit})
}

// left returns the cells of memory that a stage has for its layers.
func (s *Solver) left(stage int) int64 {
	p := s.problem
	x := p.extra(stage)
	return p.budget(stage)/s.unit - s.cells(x.States+int64(p.Inflight(stage))*x.Activation)
}

// stage describes a stage of the problem to the front's search.
func (s *Solver) stage(index, first, count int, cells int64) stage {
	p := s.problem
	return stage{
		layers: p.Layers[first : first+count], inflight: p.Inflight(index), cells: cells,
		receives: index > 0, sends: index < p.Stages-1,
	}
}

// front returns a stage's front, computed once. Points have C and e of the
// layers alone.
func (s *Solver) front(st stage) []Point {
	if st.cells < 0 {
		return nil
	}
	key := s.key(st)
	s.mu.Lock()
	c, ok := s.fronts[key]
	if !ok {
		c = &cachedFront{}
		s.fronts[key] = c
	}
	s.mu.Unlock()
	c.once.Do(func() {
		if st.goal == (weight{}) {
			c.points = s.search(st)
		} else {
			c.points = s.searchOne(st, st.goal)
		}
	})
	return c.points
}

// border returns the classes between two layers, computed once.
func (s *Solver) border(from, to *Layer) *border {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [2]*Layer{from, to}
	b, ok := s.borders[key]
	if !ok {
		rows := make([][]float64, len(from.Costs))
		for i := range rows {
			rows[i] = make([]float64, len(to.Costs))
			for t := range rows[i] {
				rows[i][t] = s.problem.change(from, i, to, t)
			}
		}
		b = newBorder(rows)
		s.borders[key] = b
	}
	return b
}
