package search

import (
	"cmp"
	"math"
	"slices"
)

// slight is the relative difference below which times count as equal. Sums of
// the same times in another order differ by less.
const slight = 1e-12

// way is a way to run a stage: options of its places.
type way struct {
	time, synced float64
	options      []int
}

// finder searches the front of one stage.
type finder struct {
	solver *Solver
	stage  stage
	places []place
	rest   []span // of the places from l on
	ways   []way  // found so far
	cuts   []cut  // weights solved so far
}

// span is what places take at most.
type span struct {
	held, peak int64 // sum, and largest
}

// cut is a weight with its bounds: no way has less than the stage's least.
type cut struct {
	weight
	tails []*tail
}

// search finds a stage's front. First the ways that are best for some weight
// of C and S: the corners of the convex hull, each a program with one value.
// What the front has beside them lies in the triangles between neighbours; the
// program with both values is run for these alone.
func (s *Solver) search(st stage) []Point {
	f := s.finder(st)
	if f.uniform(); !f.best(weight{1, slight}) || !f.best(weight{slight, 1}) {
		return nil
	}
	f.hull()
	f.between()
	return f.points()
}

// searchOne finds the way of a stage that is best for one weight.
func (s *Solver) searchOne(st stage, w weight) []Point {
	f := s.finder(st)
	if f.uniform(); !f.best(w) {
		return nil
	}
	least := slices.MinFunc(f.ways, func(a, b way) int {
		return cmp.Compare(w.of(a.time, a.synced), w.of(b.time, b.synced))
	})
	f.ways = []way{least}
	return f.points()
}

// finder prepares the search of a stage.
func (s *Solver) finder(st stage) *finder {
	f := &finder{solver: s, stage: st, places: s.places(st)}
	f.rest = make([]span, len(f.places)+1)
	for l := len(f.places) - 1; l >= 0; l-- {
		var most span
		for _, o := range f.places[l].options {
			most = span{max(most.held, o.held), max(most.peak, o.peak)}
		}
		f.rest[l] = span{f.rest[l+1].held + most.held, max(f.rest[l+1].peak, most.peak)}
	}
	return f
}

// points returns the ways found.
func (f *finder) points() []Point {
	points := make([]Point, len(f.ways))
	for i, w := range f.ways {
		points[i] = Point{Time: w.time, Sync: w.synced - w.time}
		for l, o := range w.options {
			points[i].Choice = append(points[i].Choice, f.places[l].options[o].index)
		}
	}
	return points
}

// keep adds ways and keeps those that no other beats, by rising C.
func (f *finder) keep(ways ...way) {
	all := append(f.ways, ways...)
	slices.SortStableFunc(all, func(a, b way) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.synced, b.synced))
	})
	f.ways = all[:0]
	for _, w := range all {
		if n := len(f.ways); n == 0 || w.synced < f.ways[n-1].synced {
			f.ways = append(f.ways, w)
		}
	}
}

// uniform tries every strategy for all layers, for a first bound.
func (f *finder) uniform() {
	for i := range f.stage.layers[0].Costs {
		options := make([]int, len(f.places))
		for l, p := range f.places {
			options[l] = slices.IndexFunc(p.options, func(o option) bool { return o.index == i })
		}
		if w, ok := f.price(options); ok {
			f.keep(w)
		}
	}
}

// price adds up a way, false where it does not fit or has an option that is not
// there.
func (f *finder) price(options []int) (way, bool) {
	var held, worst int64
	w := way{options: options}
	for l, i := range options {
		if i < 0 {
			return w, false
		}
		o := f.places[l].options[i]
		if l > 0 {
			change := f.places[l].change[f.places[l-1].options[options[l-1]].out][o.in]
			w.time, w.synced = w.time+change, w.synced+change
		}
		w.time, w.synced = w.time+o.time, w.synced+o.synced
		held, worst = held+o.held, max(worst+o.held-o.own, held+o.held+o.peak)
	}
	return w, worst <= f.stage.cells
}

// best finds the way of least value for a weight, false where none fits.
func (f *finder) best(w weight) bool {
	c := cut{w, f.solver.tails(f.stage, w)}
	f.cuts = append(f.cuts, c)
	bound := math.Inf(1)
	for _, k := range f.ways {
		bound = min(bound, w.of(k.time, k.synced)*(1-slight))
	}
	ends := f.run(w, weight{}, func(l int, x label) bool {
		least, ok := c.tails[l].least(f.stage.cells - x.held)
		return ok && x.time+least < bound
	})
	if len(ends) > 0 {
		least := slices.MinFunc(ends, func(a, b end) int { return cmp.Compare(a.value, b.value) })
		f.keep(least.way)
	}
	return len(f.ways) > 0
}

// hulls bounds the number of corners sought; the rest is left to the program
// with both values.
const hulls = 16

// hull finds ways on the convex hull between the two ends of the front.
func (f *finder) hull() {
	tried := map[[2]float64]bool{}
	for range hulls {
		i := -1
		for k := range len(f.ways) - 1 {
			if !tried[[2]float64{f.ways[k].time, f.ways[k+1].time}] {
				i = k
				break
			}
		}
		if i < 0 {
			return
		}
		a, b := f.ways[i], f.ways[i+1]
		tried[[2]float64{a.time, b.time}] = true
		f.best(weight{(a.synced - b.synced) / (b.time - a.time), 1})
	}
}

// between finds what is left of the front: ways that beat the corner of two
// neighbours found so far.
func (f *finder) between() {
	if len(f.ways) < 2 {
		return
	}
	f.cuts = append(f.cuts, cut{weight{1, 0}, f.solver.tails(f.stage, weight{1, 0})},
		cut{weight{0, 1}, f.solver.tails(f.stage, weight{0, 1})})
	corners := make([][]float64, len(f.ways)-1) // the value of each corner for each weight
	for i := range corners {
		for _, c := range f.cuts {
			corners[i] = append(corners[i], c.of(f.ways[i+1].time, f.ways[i].synced)*(1-slight))
		}
	}
	values := make([]float64, len(f.cuts))
	ends := f.run(weight{1, 0}, weight{0, 1}, func(l int, x label) bool {
		for i, c := range f.cuts {
			least, ok := c.tails[l].least(f.stage.cells - x.held)
			if !ok {
				return false
			}
			values[i] = c.of(x.time, x.synced) + least
		}
		return slices.ContainsFunc(corners, func(corner []float64) bool { return below(values, corner) })
	})
	for _, e := range ends {
		f.keep(e.way)
	}
}

// below says that every value is less than its bound.
func below(values, bounds []float64) bool {
	for i, v := range values {
		if v >= bounds[i] {
			return false
		}
	}
	return true
}

// end is a way that the program ends with, and its first value.
type end struct {
	way
	value float64
}

// run is the dynamic program. Labels have the value of the first weight in
// place of C and that of the second in place of S, or the first again where the
// second is zero. Only labels that may lead somewhere go on.
func (f *finder) run(first, second weight, goesOn func(l int, x label) bool) []end {
	if second == (weight{}) {
		second = first
	}
	levels := make([][]label, len(f.places))
	groups := [][]label{{{}}} // by out class
	for l, p := range f.places {
		next := make([][]label, p.outs)
		loose, floor := f.rest[l+1], f.floor(l+1)
		for in := range p.ins {
			base := enterClass(groups, p.change, in, first.of(1, 1), second.of(1, 1))
			for i, o := range p.options {
				if o.in != in {
					continue
				}
				time, synced := first.of(o.time, o.synced), second.of(o.time, o.synced)
				for _, b := range base {
					held := b.held + o.held
					x := label{
						held: held, worst: max(held+o.peak, b.worst+o.held-o.own),
						time: b.time + time, synced: b.synced + synced, parent: b.parent, option: int32(i),
					}
					if x.worst > f.stage.cells || !goesOn(l+1, x) {
						continue
					}
					x.held = max(x.held, f.stage.cells-loose.held-loose.peak)
					x.worst = max(x.worst, f.stage.cells-loose.held, x.held+floor)
					next[o.out] = append(next[o.out], x)
				}
			}
		}
		for k := range next {
			next[k] = unbeaten(next[k])
			from := len(levels[l])
			levels[l] = append(levels[l], next[k]...)
			for i := range next[k] {
				next[k][i].parent = int32(from + i) // from here on its own number
			}
		}
		groups = next
	}
	return f.ends(levels)
}

// floor returns the peak above what is held that makes no difference any more
// after the layer, which every one of its options reaches anyway. Labels are
// raised to it, as they are to memory that nothing to come can fill, so that
// more of them compare.
func (f *finder) floor(l int) int64 {
	if l == len(f.places) {
		return 0
	}
	least := int64(math.MaxInt64)
	for _, o := range f.places[l].options {
		least = min(least, o.own+o.peak)
	}
	return least
}

// enterClass returns the labels from which a class of strategies is entered,
// the change added.
func enterClass(groups [][]label, change [][]float64, in int, first, second float64) []label {
	if len(groups) == 1 && change[0][in] == 0 {
		return groups[0]
	}
	var all []label
	for k, g := range groups {
		for _, x := range g {
			x.time, x.synced = x.time+first*change[k][in], x.synced+second*change[k][in]
			all = append(all, x)
		}
	}
	return unbeaten(all)
}

// ends follows the last labels back.
func (f *finder) ends(levels [][]label) []end {
	var ends []end
	for i, x := range levels[len(levels)-1] {
		options := make([]int, len(levels))
		at := int32(i)
		for l := len(levels) - 1; l >= 0; l-- {
			options[l] = int(levels[l][at].option)
			at = levels[l][at].parent
		}
		if w, ok := f.price(options); ok {
			ends = append(ends, end{w, x.time})
		}
	}
	return ends
}
