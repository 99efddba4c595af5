package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/train/program"
)

// searchPrecision is that of products.
const searchPrecision = string(exec.BF16)

// searchTables keep the works of models, whose blocks are alike whatever their
// number.
type searchTables struct {
	backend exec.Backend
	tables  map[string]*program.Table
}

// of returns the table of a layer's model.
func (t *searchTables) of(l *searchLayer) (*program.Table, error) {
	one, err := models.WithBlocks(l.Config, 1)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(one)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("%s %d", text, l.Seq)
	if t.tables[key] == nil {
		if t.tables == nil {
			t.tables = map[string]*program.Table{}
		}
		t.tables[key] = program.NewTable(program.Options{Model: l.Config, Seq: l.Seq, Precision: searchPrecision}, t.backend)
	}
	return t.tables[key], nil
}

// searchSource gives the works of a list of layers that may be of several
// models. It keeps each, and is safe for concurrent use.
type searchSource struct {
	model  planner.Model
	kinds  []searchLayer
	tables []*program.Table // of each kind

	mu    sync.Mutex
	works map[searchWork]*planner.Work
}

// searchWork identifies a work.
type searchWork struct {
	kind         int
	strategy     parallel.Strategy
	stages, rows int
}

// source makes that of a model.
func (t *searchTables) source(m *searchModel) (*searchSource, error) {
	s := &searchSource{
		model: planner.Model{Name: m.Label, Tied: m.Tied, Facts: parallel.Facts{Seq: m.Layers[0].Seq}},
		kinds: m.Layers, works: map[searchWork]*planner.Work{},
	}
	for kind := range m.Layers {
		l := &m.Layers[kind]
		table, err := t.of(l)
		if err != nil {
			return nil, err
		}
		s.tables = append(s.tables, table)
		facts, err := l.facts()
		if err != nil {
			return nil, err
		}
		s.model.Kinds = append(s.model.Kinds, slices.Repeat([]int{kind}, l.Count)...)
		s.model.Facts.Layers = append(s.model.Facts.Layers, slices.Repeat([]parallel.Layer{facts}, l.Count)...)
	}
	s.model.Facts.Blocks = s.model.Blocks()
	return s, nil
}

// facts are those of the layer, read off its model.
func (l *searchLayer) facts() (parallel.Layer, error) {
	one, err := models.WithBlocks(l.Config, 1)
	if err != nil {
		return parallel.Layer{}, err
	}
	built, err := models.Build(one, models.Options{Batch: 1, Seq: l.Seq, Train: true})
	if err != nil {
		return parallel.Layer{}, err
	}
	facts := parallel.FactsOf(built).Layers[l.Part]
	facts.Name = l.Name
	return facts, nil
}

// process is what a worker takes beside its layers, in bytes: the most of any
// kind's model.
func (s *searchSource) process() (int64, error) {
	var most int64
	for kind := range s.kinds {
		works, err := s.tables[kind].Works(parallel.Strategy{DP: 1, TP: 1}, 2, 1)
		if err != nil {
			return 0, err
		}
		most = max(most, works.Process)
	}
	return most, nil
}

// Work returns a layer's.
func (s *searchSource) Work(kind int, strategy parallel.Strategy, stages, rows int) (*planner.Work, error) {
	if kind != 0 && kind != len(s.kinds)-1 {
		stages = 1 // blocks are the same on any number
	}
	key := searchWork{kind, strategy, stages, rows}
	s.mu.Lock()
	w := s.works[key]
	s.mu.Unlock()
	if w != nil {
		return w, nil
	}
	l := &s.kinds[kind]
	w = &planner.Work{}
	var err error
	if w.Work, err = l.work(s.tables[kind], strategy, stages, rows*l.Rows); err != nil {
		return nil, fmt.Errorf("%s: %w", l.Name, err)
	}
	// Activations between layers are fp32; DP alone splits them.
	w.Whole = int64(rows) * int64(l.Hands) * 4
	w.Border = w.Whole / int64(strategy.Degree(parallel.RoleDP))
	s.mu.Lock()
	s.works[key] = w
	s.mu.Unlock()
	return w, nil
}

// work reads the layer's off programs, with what a worker holds of it beside them.
func (l *searchLayer) work(t *program.Table, strategy parallel.Strategy, stages, rows int) (cost.Work, error) {
	if l.Part == partBlock {
		w, perBlock, err := t.Block(strategy, rows)
		w.States += perBlock
		return timesWork(w, l.Times), err
	}
	works, err := t.Works(strategy, stages, rows)
	if err != nil {
		return cost.Work{}, err
	}
	w := works.Head
	if l.Part == partEmbedding {
		w = works.Embedding
	}
	if l.Part == partHead || stages > 1 {
		w.States += works.Messages
	}
	return w, nil
}

// timesWork is the work of so many blocks, one after the other.
func timesWork(w cost.Work, times int) cost.Work {
	n := int64(times)
	w.Ops, w.Exchanges = slices.Clone(w.Ops), slices.Clone(w.Exchanges)
	for i := range w.Ops {
		o := &w.Ops[i]
		o.Count, o.FLOPs, o.Bytes = times*o.Count, n*o.FLOPs, n*o.Bytes
	}
	for i := range w.Exchanges {
		w.Exchanges[i].Count *= times
	}
	w.States, w.Params, w.Activation = n*w.States, n*w.Params, n*w.Activation
	return w
}
