package simulate

import (
	"cmp"
	"math"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestDeterministic plays a job twice, and without a record.
func TestDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, true)
		a, b := run(t, j), run(t, clone(j))
		if d := gocmp.Diff(a, b); d != "" {
			t.Fatal(d)
		}
		s, err := Measure(j)
		if err != nil {
			t.Fatal(err)
		}
		if d := gocmp.Diff(&a.Summary, s); d != "" {
			t.Fatal(d)
		}
	})
}

// TestTimeAddsUp checks that each stage's time is accounted for, in the summary
// and in events that follow each other, and that its exchanges do not overlap.
func TestTimeAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, true)
		timeline := run(t, j)
		ends := map[[2]int]float64{}
		exchanges := make([]float64, len(j.Stages))
		for _, e := range timeline.Events {
			thread := [2]int{e.Stage, 0}
			if e.Kind == Exchanging {
				thread[1] = 1
				exchanges[e.Stage] += e.End - e.Start
			} else if e.Start != ends[thread] {
				t.Fatalf("%+v: the event before ends at %v", e, ends[thread])
			}
			if e.Start < ends[thread] || e.End < e.Start {
				t.Fatalf("%+v: the event before ends at %v", e, ends[thread])
			}
			ends[thread] = e.End
		}
		for i, s := range timeline.Stages {
			near(t, "sum", s.Compute+s.Update+s.Communication+s.Bubble, timeline.Step)
			near(t, "last event", ends[[2]int{i, 0}], timeline.Step)
			near(t, "exchanges", s.Exchanges, exchanges[i])
		}
		if timeline.Step > 0 {
			work := timeline.share(func(s *StageSummary) float64 { return s.Compute })
			near(t, "shares", work+timeline.UpdateShare()+timeline.CommunicationShare()+timeline.BubbleShare(), 1)
		}
	})
}

// TestWorkIsConserved checks that no host's cores and no link do more than they
// can, and that all bytes get through.
func TestWorkIsConserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, true)
		s := run(t, j)
		work := map[int]float64{} // of hosts
		for i := range j.Stages {
			stage := &j.Stages[i]
			for _, pass := range []Pass{Forward, Backward, Update} {
				for _, k := range stage.tasks(pass) {
					work[stage.Host] += k.Compute * float64(times(k.Only, pass, j.Micro)*stage.ranks())
				}
			}
		}
		for host, w := range work {
			if j.Cores > 0 && s.Step*j.Cores < w*(1-1e-9) {
				t.Fatalf("host %d has %v to compute on %v cores, the step takes %v", host, w, j.Cores, s.Step)
			}
		}
		bytes := map[string]float64{}
		for i := range j.Stages {
			for _, pass := range []Pass{Forward, Backward, Update} {
				for _, k := range j.Stages[i].tasks(pass) {
					if k.Exchange != nil && k.Exchange.Link != nil {
						bytes[k.Exchange.Link.Name] += k.Exchange.Bytes * k.Exchange.flows() * float64(times(k.Only, pass, j.Micro))
					}
				}
			}
		}
		for _, l := range s.Links {
			near(t, "bytes", l.Bytes, bytes[l.Name])
			if l.Busy > s.Step*(1+1e-9) || l.Bytes > l.Busy*l.Rate*(1+1e-9)+1e-9 {
				t.Fatalf("%+v in %v s", l, s.Step)
			}
		}
	})
}

// times is how often a task runs in a step.
func times(o Only, pass Pass, micro int) int {
	if pass == Update || o != Every {
		return 1
	}
	return micro
}

// TestMonotone makes a task longer where nothing is shared.
func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, false)
		step := run(t, j).Step
		longer := clone(j)
		s := &longer.Stages[rapid.IntRange(0, len(j.Stages)-1).Draw(t, "stage")]
		tasks := s.tasks(Pass(rapid.IntRange(0, 2).Draw(t, "pass")))
		if len(tasks) == 0 {
			return
		}
		k := &tasks[rapid.IntRange(0, len(tasks)-1).Draw(t, "task")]
		by := drawSeconds(t, "by")
		switch {
		case k.Exchange != nil:
			k.Exchange.Latency += by
		case !k.Barrier:
			k.Compute += by
		}
		if got := run(t, longer).Step; got < step*(1-1e-9) {
			t.Fatalf("%v with a longer task, %v without", got, step)
		}
	})
}

// TestMaxMinFair checks shares: nobody gets more than its limit, all that can be
// given is given, and who gets less than its limit gets as much as anybody.
func TestMaxMinFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h pools
		p := h.add(rapid.Float64Range(0.1, 20).Draw(t, "capacity"), 1)
		for range rapid.IntRange(1, 8).Draw(t, "activities") {
			limit := math.Inf(1)
			if rapid.Bool().Draw(t, "limited") {
				limit = rapid.Float64Range(0.1, 5).Draw(t, "limit")
			}
			p.add(&activity{limit: limit, weight: rapid.Float64Range(0.1, 4).Draw(t, "weight"), left: 1}, 0)
		}
		given, limited := 0.0, true
		most := slices.MaxFunc(p.active, func(a, b *activity) int { return cmp.Compare(a.rate, b.rate) }).rate
		for _, a := range p.active {
			given += a.rate * a.weight
			if a.rate > a.limit {
				t.Fatalf("rate %v, limit %v", a.rate, a.limit)
			}
			if a.rate < a.limit {
				limited = false
				near(t, "rate", a.rate, most)
			}
		}
		if given > p.capacity*(1+1e-9) {
			t.Fatalf("%v of %v given", given, p.capacity)
		}
		if !limited {
			near(t, "given", given, p.capacity)
		}
	})
}
