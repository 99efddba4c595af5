package simulate

import (
	"slices"

	"pgregory.net/rapid"
)

// drawJob draws a job of all kinds of tasks. Unless shared, nothing is shared and
// nothing slowed down.
func drawJob(t *rapid.T, shared bool) *Job {
	j := &Job{Micro: rapid.IntRange(1, 5).Draw(t, "micro"), Schedule: drawSchedule(t)}
	links := []*Link{nil}
	if shared {
		j.Cores = float64(rapid.IntRange(0, 3).Draw(t, "cores"))
		j.Overlap = rapid.SampledFrom([]float64{0, 1, 1.3, 2}).Draw(t, "overlap")
		links = append(links, &Link{Name: "near", Rate: 3}, &Link{Name: "far", Rate: 1.5})
	}
	stages := rapid.IntRange(1, 4).Draw(t, "stages")
	barriers := rapid.IntRange(0, 2).Draw(t, "barriers")
	for i := range stages {
		s := Stage{Host: i % 2, Ranks: rapid.IntRange(0, 3).Draw(t, "ranks")}
		j.Stages = append(j.Stages, s)
	}
	for i := range j.Stages {
		s := &j.Stages[i]
		s.Forward = drawTasks(t, links, Forward, j.hasAfter(i, Forward), 0)
		s.Backward = drawTasks(t, links, Backward, j.hasAfter(i, Backward), 0)
		s.Update = drawTasks(t, links, Update, false, barriers)
	}
	return j
}

// drawTasks draws a pass.
func drawTasks(t *rapid.T, links []*Link, pass Pass, sends bool, barriers int) []Task {
	tasks := make([]Task, rapid.IntRange(0, 5).Draw(t, "tasks"))
	for n := range tasks {
		k := &tasks[n]
		k.Name = pass.String()
		if pass != Update {
			k.Only = rapid.SampledFrom([]Only{Every, Every, First, Last}).Draw(t, "only")
		}
		if rapid.Bool().Draw(t, "computes") {
			k.Compute = drawSeconds(t, "compute")
			continue
		}
		x := drawExchange(t, links)
		if x.Beside && n+1 < len(tasks) && rapid.Bool().Draw(t, "needed in the pass") {
			x.NeededBy = rapid.IntRange(n+1, len(tasks)-1).Draw(t, "needed by")
		} else if x.Beside && pass != Update && rapid.Bool().Draw(t, "needed by the update") {
			x.NeededBy = ByUpdate
		}
		k.Exchange = x
	}
	for range barriers {
		tasks = append(tasks, Task{Name: "barrier", Barrier: true})
	}
	if sends && rapid.Bool().Draw(t, "sends") {
		x := drawExchange(t, links)
		x.Send = true
		tasks = append(tasks, Task{Name: "send", Exchange: x})
		if rapid.Bool().Draw(t, "computes after the send") {
			tasks = append(tasks, Task{Name: "after", Compute: drawSeconds(t, "compute")})
		}
	}
	return tasks
}

// drawExchange draws an exchange.
func drawExchange(t *rapid.T, links []*Link) *Exchange {
	return &Exchange{
		Latency: drawSeconds(t, "latency"), Bytes: drawSeconds(t, "bytes"), Rate: rapid.SampledFrom([]float64{0.5, 1, 2}).Draw(t, "rate"),
		Link: rapid.SampledFrom(links).Draw(t, "link"), Flows: rapid.SampledFrom([]float64{0, 0.3, 1, 2}).Draw(t, "flows"),
		Beside: rapid.Bool().Draw(t, "beside"),
	}
}

// clone copies a job so that its tasks can be changed.
func clone(j *Job) *Job {
	c := *j
	c.Stages = slices.Clone(j.Stages)
	for i := range c.Stages {
		s := &c.Stages[i]
		for _, tasks := range []*[]Task{&s.Forward, &s.Backward, &s.Update} {
			*tasks = slices.Clone(*tasks)
			for n := range *tasks {
				if x := (*tasks)[n].Exchange; x != nil {
					y := *x
					(*tasks)[n].Exchange = &y
				}
			}
		}
	}
	return &c
}
