package program

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/cost"
)

// LayerWorks is what the layers of a model have one rank of their stage do for a
// micro-batch. All blocks do the same.
type LayerWorks struct {
	Embedding, Block, Head cost.Work
	// Border is the bytes of the activation that a rank sends to the next stage
	// with every micro-batch, and of its gradient that comes back. Works do not
	// count that.
	Border int64
	// Process is what a worker takes beside its program, in bytes, whatever the
	// strategy, and PerBlock what it takes more for each block that it holds.
	Process, PerBlock int64
	// Messages is what the transport holds of tensors on a rank that has an end of
	// the model, or both.
	Messages int64
}

// Works reads off what the embedding, a block and the head do for a micro-batch
// of so many rows over all ranks of the stage, all layers under one strategy, in
// a pipeline of so many stages. Only blocks are checkpointed. The batch of o does not count.
//
// It compiles a model of few blocks. The block is one between others: its peak
// has the parameters of its neighbours that are gathered ahead. A work leaves
// out what operations do once a step, which is little, but not exchanges: those
// of several layers that are joined are split by their bytes. Its peak includes
// staging memory of exchanges.
func Works(o Options, strategy parallel.Strategy, stages, rows int, b exec.Backend) (*LayerWorks, error) {
	s, err := sampleWorks(o, strategy, stages > 1, rows, b)
	if err != nil {
		return nil, err
	}
	return s.works(stages)
}

// blocks is how many a model has that gives a block between others.
const blocks = 3

// sample is what is read off compiled programs for a number of rows.
type sample struct {
	layers    [3]layerSample // embedding, block, head
	border    int64
	overhead  int64          // of the back end
	traffic   []exec.Traffic // of the program, or both programs
	params    [3]int         // parameters of each layer, counted as tensors
	ranks     int            // of a stage
	pipelined bool
}

// layerSample is what is read off of a layer.
type layerSample struct {
	ops       []cost.Op
	exchanges []exchange
	params    int64
	states    int64
	saved     int64
	alive     []int64 // at each instruction
	staging   []int64 // of each exchange that takes some
}

// exchange is a layer's share of an exchange.
type exchange struct {
	cost.Exchange
	across bool // joins the first stage and the last
	minor  bool // another layer has more of it
}

// sampleWorks compiles what is needed for all three layers.
func sampleWorks(o Options, strategy parallel.Strategy, pipelined bool, rows int, b exec.Backend) (*sample, error) {
	s, err := sampleWhole(o, strategy, rows, b)
	if err != nil || !pipelined {
		return s, err
	}
	ends, err := sampleEnds(o, strategy, rows, b)
	if err != nil {
		return nil, err
	}
	return ends.withBlock(s), nil
}

// withBlock gives a sample of the ends the block of one of the whole.
func (s *sample) withBlock(whole *sample) *sample {
	both := *s
	both.layers[1], both.params[1] = whole.layers[1], whole.params[1]
	return &both
}

// sampleWhole compiles all layers on the ranks of one stage.
func sampleWhole(o Options, strategy parallel.Strategy, rows int, b exec.Backend) (*sample, error) {
	part, compiled, err := compileFew(o, strategy, []int{blocks}, 0, rows, b)
	if err != nil {
		return nil, err
	}
	s := &sample{ranks: strategy.Ranks(), overhead: b.Overhead()}
	s.read(part, compiled, [3][]int{{0}, {(blocks + 1) / 2}, {blocks + 1}})
	return s, nil
}

// sampleEnds compiles the embedding and the head as they are on a pipeline's
// first and last stage: a table that both use is held by both.
func sampleEnds(o Options, strategy parallel.Strategy, rows int, b exec.Backend) (*sample, error) {
	s := &sample{ranks: strategy.Ranks(), overhead: b.Overhead(), pipelined: true}
	for stage, layers := range [][3][]int{{{0}}, {2: {0, 3}}} {
		part, compiled, err := compileFew(o, strategy, []int{1, 1}, stage*s.ranks, rows, b)
		if err != nil {
			return nil, err
		}
		s.read(part, compiled, layers)
	}
	return s, nil
}

// compileFew compiles a model of as many blocks as the stages have.
func compileFew(o Options, strategy parallel.Strategy, stages []int, rank, rows int, b exec.Backend) (*parallel.Part, *exec.Program, error) {
	if o.Model == nil {
		return nil, nil, fmt.Errorf("program: no model is given")
	}
	all := 0
	for _, n := range stages {
		all += n
	}
	var err error
	if o.Model, err = models.WithBlocks(o.Model, all); err != nil {
		return nil, nil, err
	}
	o.Batch = rows
	plan := parallel.Default()
	plan.PP, plan.Stages, plan.Strategy = len(stages), stages, strategy
	return Compile(o, plan, rank, b)
}

// read takes the embedding, a block and the head from the layers of a program
// that are given for each; no layers leave it as it is.
func (s *sample) read(part *parallel.Part, p *exec.Program, layers [3][]int) {
	traffic := Traffic(p, part)
	s.traffic = append(s.traffic, traffic...)
	for _, t := range traffic {
		if t.Kind == (graph.Send{}).Kind() && t.Pass == graph.Forward {
			s.border += t.Bytes
		}
	}
	figures := p.Layers()
	for i, of := range layers {
		if len(of) == 0 {
			continue
		}
		l := &s.layers[i]
		for _, f := range figures {
			if slices.Contains(of, f.Layer) {
				l.add(f)
			}
		}
		for _, shard := range p.Stage().Params {
			if slices.Contains(of, shard.Param.Layer) {
				s.params[i]++
			}
		}
		for _, t := range traffic {
			l.exchange(t, part, of)
		}
	}
}

// add adds the figures of a layer.
func (l *layerSample) add(f exec.LayerFigures) {
	for _, o := range f.Ops {
		if !o.Once {
			l.ops = append(l.ops, cost.Op{Kind: o.Kind, Pass: o.Pass, Again: o.Again, Count: o.Count, FLOPs: o.FLOPs, Bytes: o.Bytes})
		}
	}
	l.params, l.states, l.saved = l.params+f.Params, l.states+f.States, l.saved+f.Saved
	l.alive, l.staging = append(l.alive, f.Alive...), append(l.staging, f.Staging...)
}

// exchange adds what the layers have of an exchange. What passes between stages
// is not theirs.
func (l *layerSample) exchange(t exec.Traffic, part *parallel.Part, layers []int) {
	if t.Group == "" {
		return
	}
	var bytes, largest int64
	for _, share := range t.Shares() {
		if slices.Contains(layers, share.Layer) {
			bytes += share.Bytes
		}
		largest = max(largest, share.Bytes)
	}
	if bytes == 0 {
		return
	}
	group := groupOf(part.Groups[t.Group])
	l.exchanges = append(l.exchanges, exchange{
		Exchange: cost.Exchange{
			Exchange: cluster.Exchange{Kind: t.Kind, Bytes: bytes, Group: group},
			Pass:     t.Pass, Count: 1, Again: t.Again, Once: t.Once, Beside: t.Beside,
		},
		across: graph.AcrossStages(t.Group), minor: bytes < largest,
	})
}

// groupOf describes ranks that are equally far apart. Others, as 0, 1, 4 and 5 of
// two levels with one between, are taken for as many that reach as far, 0, 2, 4 and
// 6: their ring uses the same links.
func groupOf(ranks []int) cluster.Group {
	g := cluster.Group{Ranks: len(ranks), Stride: 1}
	if len(ranks) < 2 {
		return g
	}
	ranks = slices.Sorted(slices.Values(ranks))
	least := ranks[1] - ranks[0]
	for i, r := range ranks[1:] {
		least = min(least, r-ranks[i])
	}
	reach := ranks[len(ranks)-1] - ranks[0] + least
	g.Stride = (reach + len(ranks) - 1) / len(ranks)
	return g
}

// works puts a sample together for a pipeline of so many stages.
func (s *sample) works(stages int) (*LayerWorks, error) {
	if stages < 1 || s.pipelined != (stages > 1) {
		return nil, fmt.Errorf("program: %d stages: need at least 1", stages)
	}
	w := &LayerWorks{
		Embedding: s.layers[0].work(s.ranks * (stages - 1)), Block: s.layers[1].work(0), Head: s.layers[2].work(s.ranks * (stages - 1)),
		Border:   s.border,
		Process:  s.overhead + processBytes + graphBytes*int64(max(s.params[0], s.params[2])),
		PerBlock: s.perBlock(),
	}
	if !s.pipelined {
		w.Process = s.overhead + processBytes + graphBytes*int64(s.params[0]+s.params[2])
	}
	if s.ranks*stages > 1 {
		w.Process += transportBytes
		w.Messages = messageBytes(s.traffic)
	}
	return w, nil
}

func (s *sample) perBlock() int64 { return graphBytes * int64(s.params[1]) }

// work sums the exchanges that are alike. apart is how far the last stage's ranks
// are from the first's.
func (l *layerSample) work(apart int) cost.Work {
	w := cost.Work{
		Ops: slices.Clone(l.ops), States: l.states, Params: l.params, Activation: l.saved,
		Peak: most(l.alive) + most(l.staging),
	}
	for _, e := range l.joinMinor() {
		if e.across {
			e.Group = cluster.Group{Ranks: 2, Stride: apart}
		}
		i := slices.IndexFunc(w.Exchanges, func(o cost.Exchange) bool {
			o.Count = e.Count
			return o == e.Exchange
		})
		if i < 0 {
			w.Exchanges = append(w.Exchanges, e.Exchange)
		} else {
			w.Exchanges[i].Count++
		}
	}
	return w
}

// most is the largest, 0 of none.
func most(bytes []int64) int64 {
	if len(bytes) == 0 {
		return 0
	}
	return slices.Max(bytes)
}

// joinMinor adds shares of exchanges that are more another layer's to the largest of
// the layer's own that is like them, so that a collective is counted with one
// layer where it can be.
func (l *layerSample) joinMinor() []exchange {
	var joined []exchange
	for _, minor := range []bool{false, true} {
		for _, e := range l.exchanges {
			if e.minor != minor {
				continue
			}
			at := -1
			for i, o := range joined {
				if minor && e.alike(o) && (at < 0 || o.Bytes > joined[at].Bytes) {
					at = i
				}
			}
			if at < 0 {
				joined = append(joined, e)
			} else {
				joined[at].Bytes += e.Bytes
			}
		}
	}
	return joined
}

// alike reports whether both differ in their bytes at most.
func (e exchange) alike(o exchange) bool {
	e.Bytes, e.minor = o.Bytes, o.minor
	return e == o
}
