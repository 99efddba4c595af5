package simulate

import (
	"math"
	"testing"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/search"
	"pgregory.net/rapid"
)

// near fails the test unless two times are equal but for rounding.
func near(t rapid.TB, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-9*math.Max(1, math.Abs(want))) {
		t.Fatalf("%s: %v, expected %v", what, got, want)
	}
}

// run plays a job that must be valid.
func run(t rapid.TB, j *Job) *Timeline {
	t.Helper()
	timeline, err := Play(j)
	if err != nil {
		t.Fatal(err)
	}
	return timeline
}

// plain is a stage that computes.
func plain(forward, backward float64) Stage {
	return Stage{Forward: []Task{{Name: "f", Compute: forward}}, Backward: []Task{{Name: "b", Compute: backward}}}
}

func drawSchedule(t *rapid.T) parallel.Schedule {
	return rapid.SampledFrom(parallel.Schedules()).Draw(t, "schedule")
}

// seconds draws a time: often a small integer, so that events meet.
func drawSeconds(t *rapid.T, name string) float64 {
	if rapid.IntRange(0, 2).Draw(t, name+"'s kind") > 0 {
		return float64(rapid.IntRange(0, 6).Draw(t, name))
	}
	return rapid.Float64Range(0, 5).Draw(t, name)
}

// TestEqualStages compares pipelines of equal stages, which send in no time, with
// (m + P - 1)(F + B): Huang et al., GPipe; Narayanan et al., PipeDream-Flush.
func TestEqualStages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stages, micro := rapid.IntRange(1, 8).Draw(t, "stages"), rapid.IntRange(1, 20).Draw(t, "micro")
		f, b := drawSeconds(t, "F"), drawSeconds(t, "B")
		j := &Job{Micro: micro, Schedule: drawSchedule(t)}
		for range stages {
			j.Stages = append(j.Stages, plain(f, b))
		}
		s := run(t, j)
		near(t, "step", s.Step, float64(micro+stages-1)*(f+b))
		if s.Step > 0 {
			near(t, "bubble", s.BubbleShare(), float64(stages-1)/float64(micro+stages-1))
		}
	})
}

// TestUnevenStages compares pipelines of stages with one ratio of F and B with
// the planner's score.
func TestUnevenStages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stages, micro := rapid.IntRange(1, 6).Draw(t, "stages"), rapid.IntRange(1, 12).Draw(t, "micro")
		ratio := rapid.Float64Range(0, 3).Draw(t, "ratio")
		j := &Job{Micro: micro, Schedule: drawSchedule(t)}
		p := &search.Problem{Micro: micro}
		var points []search.Point
		slowest := 0.0
		for range stages {
			f := drawSeconds(t, "F")
			j.Stages = append(j.Stages, plain(f, ratio*f))
			points = append(points, search.Point{Time: f + ratio*f})
			slowest = max(slowest, f+ratio*f)
		}
		step := run(t, j).Step
		if step < float64(micro)*slowest*(1-1e-9) {
			t.Fatalf("step %v is less than %d times the slowest stage, %v", step, micro, slowest)
		}
		score := p.Score(points)
		if j.Schedule == parallel.GPipe {
			near(t, "step and score", step, score)
		} else if step > score*(1+1e-9) {
			t.Fatalf("step %v is more than the score, %v", step, score)
		}
	})
}

// TestWhatIsWaitedFor tells waiting for other stages, with or without barriers,
// from waiting for exchanges and for messages on their way.
func TestWhatIsWaitedFor(t *testing.T) {
	send := Task{Exchange: &Exchange{Latency: 2, Send: true}}
	update := []Task{{Exchange: &Exchange{Latency: 4}}, {Barrier: true}, {Compute: 3}, {Barrier: true}}
	j := &Job{Micro: 1, Schedule: parallel.OneFOneB, Stages: []Stage{
		{Forward: []Task{{Compute: 10}, send}, Backward: []Task{{Compute: 20}}, Update: update},
		{Forward: []Task{{Compute: 5}}, Backward: []Task{{Compute: 7}, send}, Update: update},
	}}
	got := run(t, j)
	// Stage 0 computes 0 to 10, sends to 12, computes 26 to 46, sums to 50, updates
	// to 53; stage 1 computes 12 to 24, sends to 26, sums to 30, updates 50 to 53.
	want := []StageSummary{
		{Compute: 30, Update: 3, Communication: 2 + 2 + 4, Bubble: 12, Exchanges: 6, Inflight: 1},
		{Compute: 12, Update: 3, Communication: 2 + 2 + 4, Bubble: 10 + 20, Exchanges: 6, Inflight: 1},
	}
	for i := range want {
		if got.Stages[i] != want[i] {
			t.Errorf("stage %d: %+v, expected %+v", i, got.Stages[i], want[i])
		}
	}
	near(t, "step", got.Step, 53)
}

// TestInflight compares the micro-batches that a stage holds with the schedule's
// slots.
func TestInflight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, false)
		for i, s := range run(t, j).Stages {
			if slots := j.Schedule.Slots(len(j.Stages), i, j.Micro); s.Inflight != slots {
				t.Fatalf("stage %d: %d in flight, %d slots", i, s.Inflight, slots)
			}
		}
	})
}

// TestMemory compares the peak with the planner's, for problems of any layers
// and tasks of any length.
func TestMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := func(name string) int64 { return rapid.Int64Range(0, 50).Draw(t, name) }
		stages := rapid.IntRange(1, 4).Draw(t, "stages")
		p := &search.Problem{
			Stages: stages, Micro: rapid.IntRange(1, 6).Draw(t, "micro"), Schedule: drawSchedule(t), Budget: []int64{1},
			First: search.Extra{States: size("first states"), Activation: size("first activation")},
			Last:  search.Extra{States: size("last states"), Activation: size("last activation")},
		}
		j := &Job{Micro: p.Micro, Schedule: p.Schedule}
		var needs []int64
		merge := rapid.Bool().Draw(t, "merge")
		for i := range stages {
			first := len(p.Layers)
			var s Stage
			if i == 0 {
				s.States, s.Activation = s.States+p.First.States, s.Activation+p.First.Activation
			}
			if i == stages-1 {
				s.States, s.Activation = s.States+p.Last.States, s.Activation+p.Last.Activation
			}
			for range rapid.IntRange(1, 4).Draw(t, "layers") {
				c := search.Cost{States: size("states"), Activation: size("activation"), Peak: size("peak")}
				p.Layers = append(p.Layers, &search.Layer{Costs: []search.Cost{c}})
				s.States += c.States
				s.Layers = append(s.Layers, Layer{Activation: c.Activation, Peak: c.Peak})
			}
			needs = append(needs, p.Memory(i, first, make([]int, len(s.Layers))))
			if merge {
				s.Layers = []Layer{Merge(s.Layers...)}
			}
			for l := range s.Layers {
				s.Forward = append(s.Forward, Task{Layer: l, Compute: drawSeconds(t, "forward")})
				s.Backward = append([]Task{{Layer: l, Compute: drawSeconds(t, "backward")}}, s.Backward...)
			}
			j.Stages = append(j.Stages, s)
		}
		timeline := run(t, j)
		most := make([]int64, stages)
		last := make([]int64, stages)
		for _, h := range timeline.Memory {
			most[h.Stage], last[h.Stage] = max(most[h.Stage], h.Bytes), h.Bytes
		}
		for i, s := range timeline.Stages {
			if s.Memory != needs[i] || most[i] != needs[i] || last[i] != j.Stages[i].States {
				t.Fatalf("stage %d: peak %d, most of the track %d, the planner says %d; %d in the end, states are %d",
					i, s.Memory, most[i], needs[i], last[i], j.Stages[i].States)
			}
		}
	})
}

// TestSharedCores has the ranks of a stage, and then of two, share a host.
func TestSharedCores(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranks := rapid.IntRange(1, 8).Draw(t, "ranks")
		cores := float64(rapid.IntRange(1, 8).Draw(t, "cores"))
		work := rapid.Float64Range(0.1, 5).Draw(t, "work")
		s := plain(work, 2*work)
		s.Ranks = ranks
		j := &Job{Stages: []Stage{s}, Micro: 3, Schedule: drawSchedule(t), Cores: cores}
		near(t, "step", run(t, j).Step, 9*work*max(1, float64(ranks)/cores))
		j.Stages = append(j.Stages, s)
		if all, step := 2*9*work*float64(ranks)/cores, run(t, j).Step; step < all*(1-1e-9) {
			t.Fatalf("step %v: all cores have %v to do", step, all)
		}
	})
}

// once is a stage that makes an exchange in its only forward pass.
func once(x Exchange, compute float64) Stage {
	x.Beside = true
	return Stage{Forward: []Task{{Name: "x", Exchange: &x}, {Name: "c", Compute: compute}}}
}

// TestSharedLink has exchanges of one or two stages go over a link.
func TestSharedLink(t *testing.T) {
	link := &Link{Name: "net", Rate: 100}
	step := func(xs ...Exchange) float64 {
		j := &Job{Micro: 1, Schedule: parallel.GPipe}
		for _, x := range xs {
			j.Stages = append(j.Stages, Stage{Update: []Task{{Exchange: &x}}})
		}
		return run(t, j).Step
	}
	flow := Exchange{Bytes: 1000, Link: link}
	near(t, "one", step(flow), 10)
	near(t, "two take twice as long", step(flow, flow), 20)
	four := flow
	four.Flows = 4
	near(t, "four flows", step(four), 40)
	slow := Exchange{Bytes: 400, Link: link, Rate: 20}
	near(t, "one limited by itself, which leaves the rest", step(slow, Exchange{Bytes: 1600, Link: link}), 20)
	late := Exchange{Latency: 5, Bytes: 500, Link: link}
	near(t, "alone for 5 s, then both", step(Exchange{Bytes: 1000, Link: link}, late), 15)
	near(t, "its own link", step(flow, Exchange{Latency: 1, Bytes: 900, Rate: 100}), 10)
}

// overlapped is how long a computation and an exchange take that begin together,
// each k times slower while both run.
func overlapped(compute, exchange, k float64) float64 {
	both := k * min(compute, exchange)
	return both + max(compute, exchange) - min(compute, exchange)
}

// TestOverlap compares with the rule for one pair.
func TestOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, latency, x := drawSeconds(t, "compute"), drawSeconds(t, "latency"), drawSeconds(t, "exchange")
		k := rapid.Float64Range(1, 3).Draw(t, "k")
		e := Exchange{Latency: latency, Bytes: x, Rate: 1}
		if rapid.Bool().Draw(t, "on a link") {
			e.Link = &Link{Name: "net", Rate: 1}
		}
		j := &Job{Stages: []Stage{once(e, c)}, Micro: 1, Schedule: parallel.GPipe, Overlap: k}
		near(t, "step", run(t, j).Step, overlapped(c, latency+x, k))
	})
}

// TestLongerTaskShorterStep shows that a step is not monotone where resources are
// shared: what one stage does later is not in the way of another.
func TestLongerTaskShorterStep(t *testing.T) {
	step := func(before float64) float64 {
		first := Stage{Update: []Task{{Exchange: &Exchange{Latency: before}}, {Compute: 4}}}
		second := Stage{Update: []Task{{Compute: 4}, {Exchange: &Exchange{Latency: 8}}}}
		return run(t, &Job{Stages: []Stage{first, second}, Micro: 1, Schedule: parallel.GPipe, Cores: 1}).Step
	}
	near(t, "together", step(0), 16)
	near(t, "one after the other", step(4), 12)
}
