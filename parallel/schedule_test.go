package parallel

import (
	"fmt"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/graph"
	"pgregory.net/rapid"
)

// pipeline draws a schedule and sizes.
func pipeline(t *rapid.T) (s Schedule, stages, micro int) {
	return rapid.SampledFrom(Schedules()).Draw(t, "schedule"), rapid.IntRange(1, 6).Draw(t, "stages"), rapid.IntRange(1, 12).Draw(t, "micro")
}

// TestScheduleProperties checks, for every stage, that each micro-batch runs
// forward and then backward once, first in, first out; that no more than Slots
// are in flight, and at some time just as many; and that a slot holds one
// micro-batch at a time.
func TestScheduleProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, stages, micro := pipeline(t)
		for stage := range stages {
			bound := micro
			if s == OneFOneB {
				bound = min(stages-stage, micro)
			}
			if got := s.Slots(stages, stage, micro); got != bound {
				t.Fatalf("stage %d: %d slots, expected %d", stage, got, bound)
			}
			next, most := map[graph.Pass]int{}, 0
			slots := map[int]int{}
			for _, a := range s.Actions(stages, stage, micro) {
				if a.Micro != next[a.Pass] {
					t.Fatalf("stage %d: %v out of order", stage, a)
				}
				next[a.Pass]++
				held, taken := slots[a.Slot]
				switch {
				case a.Pass == graph.Forward && taken:
					t.Fatalf("stage %d: %v while the slot holds %d", stage, a, held)
				case a.Pass == graph.Backward && (!taken || held != a.Micro):
					t.Fatalf("stage %d: %v from a slot with %d", stage, a, held)
				case a.Pass == graph.Forward:
					slots[a.Slot] = a.Micro
				default:
					delete(slots, a.Slot)
				}
				most = max(most, len(slots))
			}
			if next[graph.Forward] != micro || next[graph.Backward] != micro || most != bound {
				t.Fatalf("stage %d: %d forward, %d backward, at most %d in flight; expected %d, %d, %d",
					stage, next[graph.Forward], next[graph.Backward], most, micro, micro, bound)
			}
		}
	})
}

// message is a tensor on its way: the activation (forward) or gradient of a
// micro-batch between two neighbours.
type message struct {
	pass     graph.Pass
	micro    int
	from, to int
}

// event is a send or a receive of a stage.
type event struct {
	send bool
	message
}

// events gives a stage's communication, in order.
func events(s Schedule, stages, stage, micro int) []event {
	var out []event
	for _, a := range s.Actions(stages, stage, micro) {
		before, after := stage-1, stage+1
		if a.Pass == graph.Backward {
			before, after = after, before
		}
		if before >= 0 && before < stages {
			out = append(out, event{false, message{a.Pass, a.Micro, before, stage}})
		}
		if after >= 0 && after < stages {
			out = append(out, event{true, message{a.Pass, a.Micro, stage, after}})
		}
	}
	return out
}

// transfer says when a send ends.
type transfer int

const (
	strict   transfer = iota // when the receiver is at its receive
	posted                   // or has only its own send before it
	buffered                 // at once, while one message of its kind is under way
)

// play runs all stages until nothing moves, and reports whether all are done.
func play(s Schedule, stages, micro int, how transfer) bool {
	queues := make([][]event, stages)
	for stage := range queues {
		queues[stage] = events(s, stages, stage, micro)
	}
	under := map[message]bool{} // sent, not received
	waiting := map[[2]int]int{} // how many of these from stage to stage
	pop := func(stage int) { queues[stage] = queues[stage][1:] }
	ready := func(m message) bool { // the receiver takes m now
		q := queues[m.to]
		if len(q) > 0 && q[0] == (event{false, m}) {
			return true
		}
		return how == posted && len(q) > 1 && q[0].send && q[1] == (event{false, m})
	}
	for moved := true; moved; {
		moved = false
		for stage, q := range queues {
			if len(q) == 0 {
				continue
			}
			m, pair := q[0].message, [2]int{q[0].from, q[0].to}
			switch {
			case q[0].send && how == buffered && waiting[pair] == 0, q[0].send && how != buffered && ready(m):
				under[m] = true
				waiting[pair]++
			case !q[0].send && under[m]:
				waiting[pair]--
			default:
				continue
			}
			pop(stage)
			moved = true
		}
	}
	for _, q := range queues {
		if len(q) > 0 {
			return false
		}
	}
	return true
}

// TestSchedulesDoNotDeadlock plays each stage against its neighbours with
// rendezvous, the next receive being posted while a send waits, and with one
// buffered message in each direction.
func TestSchedulesDoNotDeadlock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, stages, micro := pipeline(t)
		for _, how := range []transfer{posted, buffered} {
			if !play(s, stages, micro, how) {
				t.Fatalf("%s with %d stages and %d micro-batches deadlocks (transfer %d)", s, stages, micro, how)
			}
		}
	})
}

// TestOneFOneBNeedsPostedReceives shows why Actions asks for more than strict
// rendezvous: two neighbours send to each other at once.
func TestOneFOneBNeedsPostedReceives(t *testing.T) {
	if play(OneFOneB, 2, 2, strict) {
		t.Error("1F1B runs with strict rendezvous: Actions asks for too much")
	}
	if !play(GPipe, 2, 2, strict) {
		t.Error("GPipe deadlocks with strict rendezvous")
	}
}

// TestScheduleTranscripts shows the schedules of a few pipelines.
func TestScheduleTranscripts(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct{ stages, micro int }{{1, 3}, {2, 2}, {4, 6}, {4, 2}} {
		for _, s := range Schedules() {
			fmt.Fprintf(&b, "%s, %d stages, %d micro-batches\n", s, c.stages, c.micro)
			for stage := range c.stages {
				fmt.Fprintf(&b, "  stage %d: %s\n", stage, describeActions(s.Actions(c.stages, stage, c.micro)))
			}
		}
	}
	golden(t, "schedules.txt", b.String())
}
