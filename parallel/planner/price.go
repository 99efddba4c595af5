package planner

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/parallel/search"
)

// pricer prices layers, each once. It is safe for use by several goroutines.
type pricer struct {
	*Options
	mu      sync.Mutex
	layers  map[layerKey]*pricedLayer
	borders map[borderKey][]parallel.BorderExchange

	strategiesOf map[int][]parallel.Strategy // that fit the model, by the number of stages
	open         map[choicesKey]*search.Layer
}

// choicesKey identifies a layer whose strategy nothing but the cell decides.
type choicesKey struct {
	kind int
	cell search.Cell
}

func newPricer(o *Options) *pricer {
	return &pricer{
		Options: o, layers: map[layerKey]*pricedLayer{}, borders: map[borderKey][]parallel.BorderExchange{},
		strategiesOf: map[int][]parallel.Strategy{}, open: map[choicesKey]*search.Layer{},
	}
}

// layerKey identifies what a price depends on.
type layerKey struct {
	kind     int
	strategy parallel.Strategy
	stages   int // 1, or 2 for any number above
	perStage int // ranks
	rows     int
}

// pricedLayer is a layer's work with its price.
type pricedLayer struct {
	once  sync.Once
	work  *Work
	price cost.Price
	cost  search.Cost
	err   error
}

// layer prices a layer of a kind under a strategy for a micro-batch.
func (p *pricer) layer(kind int, s parallel.Strategy, stages, rows int) (*pricedLayer, error) {
	key := layerKey{kind, s, min(2, stages), p.Space.Devices / stages, rows}
	p.mu.Lock()
	l := p.layers[key]
	if l == nil {
		l = &pricedLayer{}
		p.layers[key] = l
	}
	p.mu.Unlock()
	l.once.Do(func() {
		if l.work, l.err = p.Source.Work(kind, s, stages, rows); l.err != nil {
			return
		}
		l.price = p.Machine.Price(&l.work.Work)
		stretch := p.stretch(key.perStage)
		l.price.Forward, l.price.Backward, l.price.Again = stretch*l.price.Forward, stretch*l.price.Backward, stretch*l.price.Again
		l.price.Update *= stretch
		l.cost = l.price.Cost(&l.work.Work)
		l.cost.Receive = p.message(l.work.Border, key.perStage)
		l.cost.Send = l.cost.Receive // of the gradient that comes back
	})
	return l, l.err
}

// priceAll prices the layers of cells, each strategy of a stage by one goroutine:
// those of cells share what is known of it.
func (p *pricer) priceAll(ctx context.Context, cells []search.Cell) error {
	type task struct {
		stages   int
		strategy parallel.Strategy
	}
	rows := map[task][]int{}
	var tasks []task
	for _, c := range cells {
		for _, s := range p.strategies(c) {
			t := task{c.Stages, s}
			if rows[t] == nil {
				tasks = append(tasks, t)
			}
			rows[t] = append(rows[t], c.Batch/c.Micro)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, t := range tasks {
		group.Go(func() error {
			for _, kind := range p.kinds() {
				for _, n := range rows[t] {
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					if p.Model.isEnd(kind) && t.strategy.Checkpoint {
						continue
					}
					if _, err := p.layer(kind, t.strategy, t.stages, n); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// kinds lists the model's, each once.
func (p *pricer) kinds() []int {
	return slices.Compact(slices.Sorted(slices.Values(p.Model.Kinds)))
}

// stretch is how many times longer the ranks of a stage compute, as they do so at
// the same time, where they are more than can.
func (o *Options) stretch(perStage int) float64 {
	if o.AtOnce <= 0 {
		return 1
	}
	return max(1, float64(perStage)/o.AtOnce)
}

// message returns the seconds of a message between neighbouring stages, on
// different hosts if any are.
func (p *pricer) message(bytes int64, perStage int) float64 {
	e := cluster.Exchange{Kind: graph.Send{}.Kind(), Bytes: bytes, Group: cluster.Group{Ranks: 2, Stride: perStage}}
	first := 0
	if c := p.Machine.Cluster; perStage < p.Space.Devices {
		first = max(0, (c.PerHost-1)/perStage*perStage)
	}
	return p.Machine.Cluster.FlowFrom(e, first).Time()
}

// borderKey identifies a border between two layers.
type borderKey struct {
	layer    int
	from, to parallel.Strategy
}

// impossible is the time of a change between strategies that have no common
// mesh: more than any plan takes, and finite.
const impossible = 1e12

// change returns the seconds that a micro-batch takes to go from a layer, the
// first of its kind, to the next.
func (p *pricer) change(layer int, from, to parallel.Strategy, whole int64) float64 {
	if from == to && layer > 0 && layer < len(p.Model.Kinds)-2 {
		return 0
	}
	key := borderKey{layer, layout(from), layout(to)}
	p.mu.Lock()
	exchanges, ok := p.borders[key]
	p.mu.Unlock()
	if !ok {
		var err error
		if exchanges, err = p.Model.Facts.Border(layer, key.from, key.to); err != nil {
			return impossible
		}
		p.mu.Lock()
		p.borders[key] = exchanges
		p.mu.Unlock()
	}
	var sum float64
	for _, e := range exchanges {
		sum += p.Machine.Cluster.Time(cluster.Exchange{
			Kind: e.Kind, Bytes: whole / int64(e.Parts), Group: cluster.Group{Ranks: e.Ranks, Stride: e.Stride},
		})
	}
	return sum
}

// layout returns the strategy without what activations do not depend on.
func layout(s parallel.Strategy) parallel.Strategy {
	s.ZeRO, s.Checkpoint = 0, false
	return s
}
