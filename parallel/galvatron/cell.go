package galvatron

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Cell is one problem: a batch, its micro-batches and a pipeline degree, with
// what every layer costs under every strategy.
type Cell struct {
	Batch, Chunks int
	Budget        int      // MB a device
	Names         []string // of strategies
	Time, Synced  []float64
	Vocabs        []Vocab
	Stages        []Stage
	Mode          string // of the engine's cell, tp_only, sp_only or tp_with_sp
	Buffer        int    // the width that the gather buffer is made for
	Uniform       bool   // all layers, embedding and head take one strategy

	strategies []Strategy // where the cell is made from profiles
	form       form
	replicas   []int // DP of strategies, where known
}

// Vocab is a strategy of embedding and head, with what stages hold and take
// besides layers.
type Vocab struct {
	Name     string
	Strategy Strategy
	Time     []float64 // by stage, without reduction of gradients
	Memory   []int     // MB by stage
}

// Stage is a stage's number of layers and the MB of one by strategy.
type Stage struct {
	Layers int
	Memory []int
}

// Plan is a solution.
type Plan struct {
	Cell   *Cell
	Vocab  int     // of Cell.Vocabs
	Layers [][]int // by stage, the strategy of each layer: of Cell.Names
	Cost   float64 // seconds of a step
	Memory []int   // MB by stage
}

// check refuses what the engine would price wrong.
func (c *Cell) check() error {
	if c.Batch < 1 || c.Chunks < 1 || len(c.Stages) == 0 || len(c.Vocabs) == 0 {
		return &ArgumentError{"cell", fmt.Sprintf("batch %d, micro-batches %d, stages %d, strategies of embedding and head %d",
			c.Batch, c.Chunks, len(c.Stages), len(c.Vocabs))}
	}
	for _, dp := range c.replicas {
		if c.Batch%(c.Chunks*dp) != 0 {
			return &IndivisibleError{c.Batch, c.Chunks, dp}
		}
	}
	return nil
}

// Price is the cost in seconds and the MB of each stage of a choice of strategies,
// by stage and layer.
func (c *Cell) Price(vocab int, layers [][]int) (cost float64, memory []int, err error) {
	if len(layers) != len(c.Stages) || vocab < 0 || vocab >= len(c.Vocabs) {
		return 0, nil, &ArgumentError{"plan", fmt.Sprintf("%d stages where the cell has %d", len(layers), len(c.Stages))}
	}
	v := c.Vocabs[vocab]
	memory = make([]int, len(layers))
	var p pipeline
	for i := len(layers) - 1; i >= 0; i-- {
		time, synced := 0.0, 0.0
		memory[i] = v.Memory[i]
		for _, s := range layers[i] {
			if s < 0 || s >= len(c.Time) {
				return 0, nil, &ArgumentError{"plan", fmt.Sprintf("no strategy %d", s)}
			}
			time, synced = time+c.Time[s], synced+c.Synced[s]
			memory[i] += c.Stages[i].Memory[s]
		}
		p = p.before(time+v.Time[i], synced)
	}
	return c.form.score(p, len(layers), c.Chunks), memory, nil
}

// options are the strategies of one stage's layers.
func (c *Cell) options(stage int) []option {
	list := make([]option, len(c.Time))
	for s := range list {
		list[s] = option{s, c.Stages[stage].Memory[s], c.Time[s], c.Synced[s]}
	}
	return list
}

// bound is a cost that no plan of the cell with a strategy of embedding and head
// has less than: infinite where nothing fits.
func (c *Cell) bound(vocab int) float64 {
	v := c.Vocabs[vocab]
	times, synced := make([]float64, len(c.Stages)), 0.0
	for i, s := range c.Stages {
		each := float64(c.Budget-v.Memory[i]) / float64(s.Layers)
		times[i] = float64(s.Layers)*newHull(c.options(i), func(o option) float64 { return o.time }).at(each) + v.Time[i]
		if math.IsInf(times[i], 1) {
			return times[i]
		}
		if i == 0 {
			synced = float64(s.Layers) * newHull(c.options(i), func(o option) float64 { return o.synced }).at(each)
		}
	}
	return c.form.bound(times, synced, c.Chunks) * (1 - 1e-12)
}

// Solve returns the cheapest plan of the cell among those that take on no stage
// more time than needed both with and without reduction of gradients.
func (c *Cell) Solve() (*Plan, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var best *Plan
	for k := range c.Vocabs {
		if best == nil || c.bound(k) < best.Cost {
			if p := c.solve(k, newFronts()); p != nil && (best == nil || p.Cost < best.Cost) {
				best = p
			}
		}
	}
	if best == nil {
		return nil, &InfeasibleError{Budget: c.Budget, Least: c.least(), Cells: 1}
	}
	return best, nil
}

// least is the MB of the fullest stage of the plan that takes least there.
func (c *Cell) least() int {
	least := math.MaxInt
	for _, v := range c.Vocabs {
		most := 0
		for i, s := range c.Stages {
			most = max(most, v.Memory[i]+s.Layers*slices.Min(s.Memory))
		}
		least = min(least, most)
	}
	return least
}

// fronts keeps fronts of stages that are alike.
type fronts struct {
	ways map[string][]way
	kept map[string][]option
}

func newFronts() *fronts { return &fronts{map[string][]way{}, map[string][]option{}} }

// of is the front of a stage and the options that its ways count.
func (f *fronts) of(options []option, layers, memory int) ([]way, []option) {
	key := fmt.Sprint(layers, memory, options)
	if _, ok := f.ways[key]; !ok {
		f.ways[key], f.kept[key] = front(options, layers, memory), unbeaten(options)
	}
	return f.ways[key], f.kept[key]
}

// chain is a choice of ways for some stage to the last.
type chain struct {
	pipeline
	way  way
	kept []option
	next *chain
}

// solve is the cheapest plan with a strategy of embedding and head, nil where
// nothing fits.
func (c *Cell) solve(vocab int, f *fronts) *Plan {
	if c.Uniform {
		return c.uniform(vocab)
	}
	v := c.Vocabs[vocab]
	chains := []*chain{nil}
	for i := len(c.Stages) - 1; i >= 0; i-- {
		ways, kept := f.of(c.options(i), c.Stages[i].Layers, c.Budget-v.Memory[i])
		var longer []*chain
		for _, w := range ways {
			for _, n := range chains {
				x := &chain{way: w, kept: kept, next: n}
				if n != nil {
					x.pipeline = n.pipeline
				}
				x.pipeline = x.before(w.time+v.Time[i], w.synced)
				longer = append(longer, x)
			}
		}
		if chains = longer; i > 0 {
			chains = bestChains(longer)
		}
	}
	if len(chains) == 0 {
		return nil
	}
	score := func(x *chain) float64 { return c.form.score(x.pipeline, len(c.Stages), c.Chunks) }
	best := slices.MinFunc(chains, func(a, b *chain) int { return cmp.Compare(score(a), score(b)) })
	var layers [][]int
	for x := best; x != nil; x = x.next {
		layers = append(layers, c.order(x.way, x.kept))
	}
	return c.plan(vocab, layers)
}

// bestChains drops chains that another beats in all that the score depends on.
func bestChains(chains []*chain) []*chain {
	slices.SortStableFunc(chains, func(a, b *chain) int {
		return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.sum, b.sum), cmp.Compare(a.tail, b.tail))
	})
	var kept []*chain
	for _, x := range chains {
		if !slices.ContainsFunc(kept, func(k *chain) bool {
			return k.last <= x.last && k.sum <= x.sum && k.most <= x.most && k.tail <= x.tail
		}) {
			kept = append(kept, x)
		}
	}
	return kept
}

// uniform is the cheapest plan of one strategy for everything.
func (c *Cell) uniform(vocab int) *Plan {
	var best *Plan
	for s := range c.Time {
		if len(c.strategies) > 0 && c.strategies[s].vocab() != c.Vocabs[vocab].Strategy {
			continue
		}
		layers := make([][]int, len(c.Stages))
		for i, stage := range c.Stages {
			layers[i] = slices.Repeat([]int{s}, stage.Layers)
		}
		p := c.plan(vocab, layers)
		if slices.Max(p.Memory) <= c.Budget && (best == nil || p.Cost < best.Cost) {
			best = p
		}
	}
	return best
}

// plan prices what was found.
func (c *Cell) plan(vocab int, layers [][]int) *Plan {
	cost, memory, err := c.Price(vocab, layers)
	if err != nil {
		return nil // cannot be: the choice is of the cell's own strategies
	}
	return &Plan{Cell: c, Vocab: vocab, Layers: layers, Cost: cost, Memory: memory}
}

// order lists the strategies of a stage's layers: of one width together, and of
// one width those of little memory first, as the engine orders them.
func (c *Cell) order(w way, kept []option) []int {
	used := make([]int, 0, len(kept))
	for k, n := range w.counts {
		if n > 0 {
			used = append(used, k)
		}
	}
	slices.SortStableFunc(used, func(a, b int) int {
		x, y := kept[a], kept[b]
		return cmp.Or(cmp.Compare(c.width(x.strategy), c.width(y.strategy)), cmp.Compare(x.memory, y.memory))
	})
	var list []int
	for _, k := range used {
		list = append(list, slices.Repeat([]int{kept[k].strategy}, w.counts[k])...)
	}
	return list
}

// width is that of a strategy, 0 where the cell does not tell.
func (c *Cell) width(strategy int) int {
	if len(c.strategies) == 0 {
		return 0
	}
	return c.strategies[strategy].Width()
}
