package planning

import (
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/train/profile"
	"github.com/galvani-ml/galvani/train/program"
)

// source reads works off compiled programs.
type source struct {
	table   *program.Table
	times   *profile.Layers
	request *Request
}

// Work returns a layer's.
func (s *source) Work(kind int, strategy parallel.Strategy, stages, rows int) (*planner.Work, error) {
	w := &planner.Work{Whole: s.whole(rows)}
	w.Border = w.Whole / int64(ways(strategy))
	var err error
	if w.Work, err = s.work(kind, strategy, stages, rows); err != nil || s.times == nil {
		return w, err
	}
	at, err := s.times.At(strategy, rows/strategy.Degree(parallel.RoleDP))
	if err != nil {
		return nil, err
	}
	w.Measured = map[int]*cost.Seconds{kindEmbedding: &at.Embedding, kindBlock: &at.Block, kindHead: &at.Head}[kind]
	return w, nil
}

// work reads a layer's off programs, with what a worker holds of it beside them.
func (s *source) work(kind int, strategy parallel.Strategy, stages, rows int) (cost.Work, error) {
	if kind == kindBlock {
		w, perBlock, err := s.table.Block(strategy, rows)
		w.States += perBlock
		return w, err
	}
	works, err := s.table.Works(strategy, stages, rows)
	if err != nil {
		return cost.Work{}, err
	}
	w := works.Head // on the only stage, or the last one
	if kind == kindEmbedding {
		w = works.Embedding
	}
	if kind == kindHead || stages > 1 {
		w.States += works.Messages
	}
	return w, nil
}

// whole is the activations between two layers, in bytes.
func (s *source) whole(rows int) int64 {
	return int64(rows) * int64(s.request.Program.Seq) * int64(s.request.Program.Model.Width()) * 4
}

// ways is how many parts a strategy splits activations between layers into.
func ways(s parallel.Strategy) int {
	n := s.Degree(parallel.RoleDP) * s.Degree(parallel.RoleCP) * s.Degree(parallel.RoleSP)
	if s.SequenceParallel {
		n *= s.Degree(parallel.RoleTP)
	}
	return n
}
