package simulate

import (
	"testing"

	"github.com/galvani-ml/galvani/graph"
	"pgregory.net/rapid"
)

// reference finds the length of a step where nothing is shared and nothing slowed
// down: the longest way through all that must come one after another. It sweeps
// over the stages until no time grows.
type reference struct {
	job         *Job
	came, taken map[message]float64
	barriers    []float64 // when the last stage comes to each
	grown       bool
}

// message is what a stage sends in a pass.
type message struct {
	stage, micro int
	pass         Pass
}

func longestWay(j *Job) (step float64) {
	r := &reference{job: j, came: map[message]float64{}, taken: map[message]float64{}, barriers: make([]float64, barriers(j.Stages[0].Update)), grown: true}
	for r.grown {
		r.grown = false
		for i := range j.Stages {
			step = max(step, r.stage(i))
		}
	}
	return step
}

// track is the time of a stage's computation, and of its exchanges.
type track struct{ compute, exchange, update float64 }

func (r *reference) stage(i int) float64 {
	var t track
	for _, a := range r.job.Schedule.Actions(len(r.job.Stages), i, r.job.Micro) {
		pass := Forward
		if a.Pass == graph.Backward {
			pass = Backward
		}
		r.pass(&t, i, pass, a.Micro)
	}
	r.pass(&t, i, Update, 0)
	return t.compute
}

func (r *reference) pass(t *track, stage int, pass Pass, micro int) {
	input := 0.0
	if r.job.hasBefore(stage, pass) {
		m := message{stage - 1, micro, pass}
		if pass == Backward {
			m.stage = stage + 1
		}
		input = max(t.compute, r.came[m])
		r.grow(r.taken, m, input)
	}
	tasks := r.job.Stages[stage].tasks(pass)
	needed := make([]float64, len(tasks)+1)
	sent := false
	barrier := 0
	join := func(n int) {
		t.compute = max(t.compute, input)
		for k := 1; k <= n; k++ {
			t.compute = max(t.compute, needed[k])
		}
		if pass == Update {
			t.compute = max(t.compute, t.update)
		}
	}
	exchange := func(x *Exchange) float64 {
		start := max(t.compute, t.exchange)
		if x.Send {
			start, sent = max(start, r.taken[message{stage, micro - 1, pass}]), true
		}
		t.exchange = start + x.alone()
		if x.Send {
			r.grow(r.came, message{stage, micro, pass}, t.exchange)
		}
		return t.exchange
	}
	for n := range tasks {
		k := &tasks[n]
		if !k.Only.has(micro, r.job.Micro) {
			continue
		}
		if !k.beside() {
			join(n)
		}
		switch {
		case k.Barrier:
			if t.compute > r.barriers[barrier] {
				r.barriers[barrier], r.grown = t.compute, true
			}
			t.compute = r.barriers[barrier]
			barrier++
		case k.Exchange == nil:
			t.compute += k.Compute
		case !k.Exchange.Beside:
			t.compute = exchange(k.Exchange)
		case k.Exchange.NeededBy == ByUpdate:
			t.update = max(t.update, exchange(k.Exchange))
		default:
			needed[k.Exchange.NeededBy] = max(needed[k.Exchange.NeededBy], exchange(k.Exchange))
		}
	}
	join(len(tasks))
	t.compute = max(t.compute, needed[PassEnd])
	if !sent && r.job.hasAfter(stage, pass) {
		t.update = max(t.update, exchange(nothing.Exchange))
	}
}

// grow sets a time that is later than before.
func (r *reference) grow(of map[message]float64, m message, to float64) {
	if to > of[m] {
		of[m], r.grown = to, true
	}
}

// TestLongestWay compares steps without sharing with the longest way, and finds
// steps with sharing no faster.
func TestLongestWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, false)
		want := longestWay(j)
		near(t, "step", run(t, j).Step, want)
		j.Cores = float64(rapid.IntRange(0, 3).Draw(t, "cores"))
		j.Overlap = rapid.SampledFrom([]float64{0, 1.5, 3}).Draw(t, "overlap")
		if step := run(t, j).Step; step < want*(1-1e-9) {
			t.Fatalf("step %v with sharing, %v without", step, want)
		}
	})
}
