package planner

import (
	"slices"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cost"
)

// Model is the layers that a plan is made for.
type Model struct {
	Name  string
	Facts parallel.Facts
	// Kinds tells which layers are alike: the kind of each, in order, embedding
	// and head included.
	Kinds []int
	// Tied says that embedding and head share a table: they then have one
	// strategy.
	Tied bool
}

// Blocks returns the number of layers between embedding and head.
func (m *Model) Blocks() int { return len(m.Kinds) - 2 }

// layer returns the first layer of a kind.
func (m *Model) layer(kind int) int { return slices.Index(m.Kinds, kind) }

// isEnd says that the kind is the embedding's or the head's.
func (m *Model) isEnd(kind int) bool {
	return kind == m.Kinds[0] || kind == m.Kinds[len(m.Kinds)-1]
}

// Source says what layers do.
type Source interface {
	// Work returns what a layer of a kind has a rank do for a micro-batch of so
	// many rows, over all ranks of a stage, when there are so many stages.
	Work(kind int, s parallel.Strategy, stages, rows int) (*Work, error)
}

// Work is that of a layer, and what it hands on.
type Work struct {
	cost.Work
	// Border is the activations that a rank has of a micro-batch after the layer,
	// in bytes: what it sends where a stage ends.
	Border int64
	// Whole is the same of all ranks together.
	Whole int64
}
