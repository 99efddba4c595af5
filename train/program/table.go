package program

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cost"
)

// Table gives the works of a model for any strategy and any number of rows from
// a few compilations of each strategy, for one, two and three sequences a rank:
// from two on, what grows with the rows does so evenly, but for the few bytes
// that align buffers. One sequence takes less,
// as what is cut or joined within it lies in one piece. Where programs of two and of
// three are not the same but for sizes it compiles for the rows asked for. It is
// safe for concurrent use.
type Table struct {
	options Options
	backend exec.Backend

	mu      sync.Mutex
	entries map[key]*entry
}

// key says what a sample is of.
type key struct {
	strategy  parallel.Strategy
	ends      bool // the ends of a pipeline
	sequences int  // of a rank
}

// entry is a sample, taken when it is first asked for.
type entry struct {
	once   sync.Once
	sample *sample
	err    error
}

// NewTable makes an empty table. The batch of o does not count.
func NewTable(o Options, b exec.Backend) *Table {
	return &Table{options: o, backend: b, entries: map[key]*entry{}}
}

// Works is what [Works] gives. Rows must be a multiple of the ways that the
// strategy splits the batch.
func (t *Table) Works(strategy parallel.Strategy, stages, rows int) (*LayerWorks, error) {
	s, err := t.sample(strategy, false, rows)
	if err == nil && stages > 1 {
		var ends *sample
		if ends, err = t.sample(strategy, true, rows); err == nil {
			s = ends.withBlock(s)
		}
	}
	if err != nil {
		return nil, err
	}
	return s.works(stages)
}

// Block is the work of a block alone, and [LayerWorks.PerBlock]. They are the same
// for any number of stages, and cost less than the works of all layers.
func (t *Table) Block(strategy parallel.Strategy, rows int) (w cost.Work, perBlock int64, err error) {
	s, err := t.sample(strategy, false, rows)
	if err != nil {
		return w, 0, err
	}
	return s.layers[1].work(0), s.perBlock(), nil
}

// sample is that of all layers, or of the ends of a pipeline, for so many rows.
func (t *Table) sample(strategy parallel.Strategy, ends bool, rows int) (*sample, error) {
	ways := strategy.Degree(parallel.RoleDP)
	if rows < 1 || rows%ways != 0 {
		return nil, fmt.Errorf("program: %d rows do not divide among dp=%d", rows, ways)
	}
	k := key{strategy, ends, rows / ways}
	s, err := t.at(k)
	if errors.Is(err, errOtherProgram) {
		return t.compile(k)
	}
	return s, err
}

// compile takes a sample.
func (t *Table) compile(k key) (*sample, error) {
	sample := sampleWhole
	if k.ends {
		sample = sampleEnds
	}
	return sample(t.options, k.strategy, k.sequences*k.strategy.Degree(parallel.RoleDP), t.backend)
}

// at is a sample, taken or extrapolated.
func (t *Table) at(k key) (*sample, error) {
	n := k.sequences
	if n <= 3 {
		return t.take(k)
	}
	k.sequences = 2
	two, err := t.take(k)
	if err != nil {
		return nil, err
	}
	k.sequences = 3
	three, err := t.take(k)
	if err != nil {
		return nil, err
	}
	return extrapolation(n).sample(two, three)
}

// take takes a sample, once.
func (t *Table) take(k key) (*sample, error) {
	t.mu.Lock()
	e := t.entries[k]
	if e == nil {
		e = &entry{}
		t.entries[k] = e
	}
	t.mu.Unlock()
	e.once.Do(func() { e.sample, e.err = t.compile(k) })
	return e.sample, e.err
}

// errOtherProgram says that programs of other sizes are other programs.
var errOtherProgram = errors.New("program: the program depends on the number of rows")

// extrapolation goes on to so many sequences from two and three.
type extrapolation int64

func (x extrapolation) of(two, three int64) int64 { return two + (int64(x)-2)*(three-two) }

func (x extrapolation) each(two, three []int64) []int64 {
	var all []int64
	for i, n := range three {
		all = append(all, x.of(two[i], n))
	}
	return all
}

func (x extrapolation) sample(two, three *sample) (*sample, error) {
	if len(two.traffic) != len(three.traffic) {
		return nil, errOtherProgram
	}
	s := *two
	s.border = x.of(two.border, three.border)
	s.traffic = slices.Clone(two.traffic)
	for i, t := range three.traffic {
		s.traffic[i].Bytes = x.of(s.traffic[i].Bytes, t.Bytes)
	}
	for i := range s.layers {
		if err := x.layer(&s.layers[i], &two.layers[i], &three.layers[i]); err != nil {
			return nil, err
		}
	}
	return &s, nil
}

func (x extrapolation) layer(to, two, three *layerSample) error {
	if len(two.ops) != len(three.ops) || len(two.exchanges) != len(three.exchanges) || len(two.alive) != len(three.alive) || len(two.staging) != len(three.staging) {
		return errOtherProgram
	}
	*to = layerSample{
		params: two.params, states: x.of(two.states, three.states), saved: x.of(two.saved, three.saved),
		ops: slices.Clone(two.ops), exchanges: slices.Clone(two.exchanges), alive: x.each(two.alive, three.alive), staging: x.each(two.staging, three.staging),
	}
	for i, o := range three.ops {
		f := &to.ops[i]
		f.FLOPs, f.Bytes = x.of(f.FLOPs, o.FLOPs), x.of(f.Bytes, o.Bytes)
		if o.FLOPs, o.Bytes = f.FLOPs, f.Bytes; o != *f {
			return errOtherProgram
		}
	}
	for i, o := range three.exchanges {
		f := &to.exchanges[i]
		f.Bytes = x.of(f.Bytes, o.Bytes)
		if !f.alike(o) {
			return errOtherProgram
		}
	}
	return nil
}
