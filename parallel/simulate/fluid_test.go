package simulate

import (
	"math"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// TestFluid checks what was played against the rules of sharing. From one begin or
// end of any event to the next, all rates are found anew from what is under way;
// each computation and each exchange must so have done its work when it ends.
func TestFluid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, true)
		for i := range j.Stages {
			for _, pass := range []Pass{Forward, Backward, Update} {
				tasks := j.Stages[i].tasks(pass)
				for n := range tasks {
					tasks[n].Name = strconv.Itoa(n)
					if x := tasks[n].Exchange; x != nil && x.Link != nil {
						x.Latency = 0 // or events would not tell when the flow begins
					}
				}
			}
		}
		events := slices.DeleteFunc(run(t, j).Events, func(e Event) bool {
			return e.Kind == Stall || e.Kind == Bubble || e.End == e.Start
		})
		var times []float64
		for _, e := range events {
			times = append(times, e.Start, e.End)
		}
		slices.Sort(times)
		done := make([]float64, len(events))
		for i := 1; i < len(times); i++ {
			from, to := times[i-1], times[i]
			var under []int
			for k, e := range events {
				if e.Start <= from && e.End >= to {
					under = append(under, k)
				}
			}
			for _, k := range under {
				done[k] += rate(j, events, under, k) * (to - from)
			}
		}
		for k, e := range events {
			task := taskOf(j, e)
			want := task.Compute
			if x := task.Exchange; x != nil && x.Link != nil {
				want = x.Bytes
			} else if x != nil {
				want = x.alone()
			}
			if math.Abs(done[k]-want) > 1e-6 {
				t.Fatalf("%+v did %v, expected %v", e, done[k], want)
			}
		}
	})
}

// taskOf is the task of an event.
func taskOf(j *Job, e Event) Task {
	n, err := strconv.Atoi(e.Name)
	if err != nil {
		return nothing
	}
	return j.Stages[e.Stage].tasks(e.Pass)[n]
}

// rate is that of event k while those of under are under way.
func rate(j *Job, events []Event, under []int, k int) float64 {
	e := events[k]
	task := taskOf(j, e)
	rate, together := 1.0, 0.0
	for _, o := range under {
		if o != k && events[o].Stage == e.Stage {
			together++ // computes and exchanges
		}
	}
	switch {
	case e.Kind == Compute && j.Cores > 0:
		ranks := 0
		for _, o := range under {
			if s := &j.Stages[events[o].Stage]; events[o].Kind == Compute && s.Host == j.Stages[e.Stage].Host {
				ranks += s.ranks()
			}
		}
		rate = min(1, j.Cores/float64(ranks))
	case task.Exchange != nil && task.Exchange.Link != nil:
		var flows []*Exchange
		for _, o := range under {
			if x := taskOf(j, events[o]).Exchange; x != nil && x.Link == task.Exchange.Link {
				flows = append(flows, x)
			}
		}
		rate = min(level(flows, task.Exchange.Link.Rate), limit(task.Exchange))
	}
	if together > 0 {
		rate /= j.overlap()
	}
	return rate
}

// limit is the most that a flow can have.
func limit(x *Exchange) float64 {
	if x.Rate == 0 {
		return math.Inf(1)
	}
	return x.Rate
}

// level is what flows get that are not limited by themselves, by bisection.
func level(flows []*Exchange, capacity float64) float64 {
	low, high := 0.0, 1e9
	for range 200 {
		middle, sum := (low+high)/2, 0.0
		for _, x := range flows {
			sum += x.flows() * min(middle, limit(x))
		}
		if sum > capacity {
			high = middle
		} else {
			low = middle
		}
	}
	return low
}
