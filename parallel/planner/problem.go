package planner

import (
	"slices"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/search"
)

// problem returns the problem of a cell, nil where no strategy fits the model.
func (p *pricer) problem(c search.Cell) (*search.Problem, error) {
	variants := p.variants(c)
	if c.Variant >= len(variants) {
		return nil, nil
	}
	return p.build(c, variants[c.Variant])
}

// relaxed returns the problem of a cell in which nothing is decided for all
// layers together: it has the plans of all variants.
func (p *pricer) relaxed(c search.Cell) (*search.Problem, error) { return p.build(c, variant{}) }

// variant is what is decided for all layers together.
type variant struct {
	end  *parallel.Strategy // of embedding and head, nil for any
	all  *parallel.Strategy // of all layers, nil for any
	mesh []int              // the borders that strategies may have, nil for any
}

// variants lists those of a cell.
func (p *pricer) variants(c search.Cell) []variant {
	strategies := p.strategies(c)
	var all []variant
	if p.Uniform {
		for i := range strategies {
			all = append(all, variant{all: &strategies[i]})
		}
		return all
	}
	for _, mesh := range meshes(p.Space.Devices / c.Stages) {
		if !p.Model.Tied {
			all = append(all, variant{mesh: mesh})
			continue
		}
		for i, s := range strategies {
			if !s.Checkpoint && on(s, mesh) {
				all = append(all, variant{end: &strategies[i], mesh: mesh})
			}
		}
	}
	return all
}

// strategies lists those that fit the model and the cell.
func (p *pricer) strategies(c search.Cell) []parallel.Strategy {
	var kept []parallel.Strategy
	for _, s := range p.admitted(c.Stages) {
		if rows := c.Micro * s.Degree(parallel.RoleDP); c.Admits(s) && (p.Rows == 0 || c.Batch == rows*p.Rows) {
			kept = append(kept, s)
		}
	}
	return kept
}

// admitted lists the strategies of the space that fit the model.
func (p *pricer) admitted(stages int) []parallel.Strategy {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.strategiesOf[stages]
	if !ok {
		known = slices.DeleteFunc(p.Space.Strategies(stages), func(s parallel.Strategy) bool { return p.Model.Facts.Admit(s) != nil })
		p.strategiesOf[stages] = known
	}
	return known
}

// meshes lists the finest meshes of a group of ranks, each by the numbers of
// ranks below its axes. All strategies on one of them go together. Of a power of
// two there is one, and nil stands for it.
func meshes(ranks int) [][]int {
	if ranks&(ranks-1) == 0 {
		return [][]int{nil}
	}
	return factorings(ranks)
}

// factorings lists the ways to split ranks by primes, one after the other: what
// is left after each.
func factorings(ranks int) [][]int {
	if ranks == 1 {
		return [][]int{nil}
	}
	var all [][]int
	for d := 2; d <= ranks; d++ {
		if ranks%d == 0 && prime(d) {
			for _, rest := range factorings(ranks / d) {
				all = append(all, append([]int{ranks / d}, rest...))
			}
		}
	}
	return all
}

func prime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

// on says that a strategy's levels are axes of the mesh.
func on(s parallel.Strategy, mesh []int) bool {
	return mesh == nil || !slices.ContainsFunc(s.Borders(), func(b int) bool { return !slices.Contains(mesh, b) })
}

// allows says that a layer of a kind may have the strategy.
func (v variant) allows(s parallel.Strategy, end bool) bool {
	switch {
	case v.all != nil:
		want := *v.all
		want.Checkpoint = want.Checkpoint && !end
		return s == want
	case end && (s.Checkpoint || v.end != nil && s != *v.end):
		return false
	}
	return on(s, v.mesh)
}

// build makes the problem of a variant.
func (p *pricer) build(c search.Cell, v variant) (*search.Problem, error) {
	strategies := p.strategies(c)
	kinds := map[int]*search.Layer{}
	for _, kind := range p.Model.Kinds {
		if kinds[kind] != nil {
			continue
		}
		l, err := p.choices(kind, c, v, strategies)
		if l == nil || err != nil {
			return nil, err
		}
		kinds[kind] = l
	}
	var layers []*search.Layer
	for _, kind := range p.Model.Kinds {
		layers = append(layers, kinds[kind])
	}
	return p.framed(c, layers), nil
}

// choices returns a layer of a kind, nil where the variant allows it no strategy.
// What the variant leaves open is the same layer in all variants of a cell.
func (p *pricer) choices(kind int, c search.Cell, v variant, strategies []parallel.Strategy) (*search.Layer, error) {
	end := p.Model.isEnd(kind)
	if v.all != nil || v.mesh != nil || end && v.end != nil {
		return p.priced(kind, c, v, strategies)
	}
	c.Variant = 0
	key := choicesKey{kind, c}
	p.mu.Lock()
	l, ok := p.open[key]
	p.mu.Unlock()
	if ok {
		return l, nil
	}
	l, err := p.priced(kind, c, v, strategies)
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if known, ok := p.open[key]; ok {
			return known, nil
		}
		p.open[key] = l
	}
	return l, err
}

// priced makes a layer of the strategies that the variant allows.
func (p *pricer) priced(kind int, c search.Cell, v variant, strategies []parallel.Strategy) (*search.Layer, error) {
	end := p.Model.isEnd(kind)
	if v.all != nil && v.all.Checkpoint && end { // the space may lack it without
		plain := *v.all
		plain.Checkpoint = false
		strategies = []parallel.Strategy{plain}
	}
	l := &search.Layer{Name: p.Model.Facts.Layers[p.Model.layer(kind)].Name}
	for _, s := range strategies {
		if !v.allows(s, end) {
			continue
		}
		priced, err := p.layer(kind, s, c.Stages, c.Batch/c.Micro)
		if err != nil {
			return nil, err
		}
		l.Strategies, l.Costs = append(l.Strategies, s), append(l.Costs, priced.cost)
	}
	if len(l.Costs) == 0 {
		return nil, nil
	}
	return l, nil
}

// framed makes a problem of layers.
func (p *pricer) framed(c search.Cell, layers []*search.Layer) *search.Problem {
	problem := &search.Problem{
		Layers: layers, Before: 1, After: 1, Stages: c.Stages, Micro: c.Micro, Schedule: c.Schedule,
		Budget: []int64{p.Memory - p.Process}, Hidden: backwardShare, Fixed: p.Fixed,
	}
	if p.AtOnce > 0 {
		// Where a stage alone has more ranks than can compute, prices say so.
		problem.Shared = min(1, float64(p.Space.Devices/c.Stages)/p.AtOnce)
	}
	first := map[*search.Layer]int{}
	for i, l := range layers {
		if _, ok := first[l]; !ok {
			first[l] = i
		}
	}
	problem.Change = func(from *search.Layer, s int, to *search.Layer, t int) float64 {
		layer := first[from]
		if next := first[to] - 1; next > layer {
			layer = next // the border before the head is another than that between blocks
		}
		a := from.Strategies[s]
		whole := p.whole(p.Model.Kinds[first[from]], a, c)
		return p.change(layer, a, to.Strategies[t], whole)
	}
	return problem
}

// backwardShare is the share of a micro-batch's time that its backward pass
// takes, in which reductions of gradients of later stages go on.
const backwardShare = 2.0 / 3

// whole returns the activations of all ranks of a stage after a layer, in bytes.
func (p *pricer) whole(kind int, s parallel.Strategy, c search.Cell) int64 {
	l, err := p.layer(kind, s, c.Stages, c.Batch/c.Micro)
	if err != nil {
		return 0 // the layer would not be there
	}
	return l.work.Whole
}
