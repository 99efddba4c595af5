package parallel

import (
	"fmt"
	"strings"

	"github.com/galvani-ml/galvani/graph"
)

// Schedule names the order in which a stage runs the micro-batches of a step.
type Schedule string

// The schedules. Both run micro-batches first in, first out, so gradients are
// summed in the same order and come out the same.
const (
	// GPipe runs all micro-batches forward, then all backward, and holds the
	// activations of all of them. Huang et al.: GPipe (2019).
	GPipe Schedule = "gpipe"
	// OneFOneB runs a micro-batch backward as soon as it can, so a stage holds
	// at most P - stage of them. Narayanan et al.: Memory-Efficient
	// Pipeline-Parallel DNN Training (2021), there PipeDream-Flush.
	OneFOneB Schedule = "1f1b"
)

// Schedules lists the schedules there are.
func Schedules() []Schedule { return []Schedule{GPipe, OneFOneB} }

// Action is one pass of one micro-batch on a stage. The activations of a
// micro-batch are kept in Slot from its forward to its backward pass.
type Action struct {
	Pass  graph.Pass
	Micro int
	Slot  int
}

// String gives the action as in "F3@1": forward, micro-batch 3, slot 1.
func (a Action) String() string {
	letter := "F"
	if a.Pass == graph.Backward {
		letter = "B"
	}
	return fmt.Sprintf("%s%d@%d", letter, a.Micro, a.Slot)
}

// Slots returns how many micro-batches a stage has in flight at most: m for
// GPipe, min(P - stage, m) for 1F1B.
func (s Schedule) Slots(stages, stage, micro int) int {
	if s == GPipe {
		return micro
	}
	return min(stages-stage, micro)
}

// Actions returns what a stage of P does in a step of m micro-batches, in
// order.
//
// A stage must be able to post the receive of its next action while a send of
// the last one is under way (or a send must be buffered, one message in each
// direction between neighbours): in 1F1B a stage sends an activation forward
// while its neighbour sends a gradient back.
func (s Schedule) Actions(stages, stage, micro int) []Action {
	slots := s.Slots(stages, stage, micro)
	ahead := slots - 1 // a backward pass follows its forward pass after this many others
	var actions []Action
	for m := range micro + ahead {
		if m < micro {
			actions = append(actions, Action{graph.Forward, m, m % slots})
		}
		if m >= ahead {
			actions = append(actions, Action{graph.Backward, m - ahead, (m - ahead) % slots})
		}
	}
	return actions
}

// describeActions gives the actions on one line.
func describeActions(actions []Action) string {
	words := make([]string, len(actions))
	for i, a := range actions {
		words[i] = a.String()
	}
	return strings.Join(words, " ")
}
