package simulate

import (
	"fmt"
	"math"
	"slices"

	"github.com/galvani-ml/galvani/parallel"
)

// mustBeTime ends messages about times that are none.
const mustBeTime = "must be finite and not negative"

// Validate reports as a [*JobError], [*StageError] or [*TaskError] what makes the
// job no job.
func (j *Job) Validate() error {
	problem := ""
	switch {
	case len(j.Stages) == 0:
		problem = "no stages: a job has at least 1"
	case j.Micro < 1:
		problem = fmt.Sprintf("%d micro-batches: a step has at least 1", j.Micro)
	case !slices.Contains(parallel.Schedules(), j.Schedule):
		problem = fmt.Sprintf("schedule %q: must be one of %v", j.Schedule, parallel.Schedules())
	case !isTime(j.Cores):
		problem = fmt.Sprintf("%v cores: %s", j.Cores, mustBeTime)
	case j.Overlap != 0 && !(j.Overlap >= 1 && isTime(j.Overlap)):
		problem = fmt.Sprintf("overlap slow-down %v: must be finite and at least 1", j.Overlap)
	}
	if problem != "" {
		return &JobError{problem}
	}
	for i := range j.Stages {
		if err := j.checkStage(i); err != nil {
			return err
		}
	}
	return nil
}

func (j *Job) checkStage(i int) error {
	s := &j.Stages[i]
	if s.Ranks < 0 {
		return &StageError{i, fmt.Sprintf("%d ranks on a host: must not be negative", s.Ranks)}
	}
	if problem := s.checkMemory(j.Micro); problem != "" {
		return &StageError{i, problem}
	}
	for _, pass := range []Pass{Forward, Backward, Update} {
		tasks := s.tasks(pass)
		sends := 0
		for n := range tasks {
			t := &tasks[n]
			problem := t.check()
			if problem == "" {
				problem = j.checkPlace(i, pass, n, &sends)
			}
			if problem != "" {
				return &TaskError{i, pass, n, t.Name, problem}
			}
		}
	}
	if a, b := barriers(j.Stages[0].Update), barriers(s.Update); a != b {
		return &StageError{i, fmt.Sprintf("%d barriers in its update, stage 0 has %d: all stages must have as many", b, a)}
	}
	return nil
}

// checkMemory says what is wrong with the memory of a stage that holds so many
// micro-batches at most.
func (s *Stage) checkMemory(micro int) string {
	const most = math.MaxInt64 / 2
	held, sum := []int64{s.States, s.Activation}, float64(s.States)+float64(s.Activation)*float64(micro)
	for _, l := range s.Layers {
		held = append(held, l.Activation, l.Peak)
		sum += float64(l.Activation)*float64(micro) + float64(l.Peak)
	}
	if least := slices.Min(held); least < 0 {
		return fmt.Sprintf("%d bytes of memory: must not be negative", least)
	}
	if sum > most {
		return fmt.Sprintf("%.3g bytes of memory in all micro-batches: must be at most %.3g", sum, float64(most))
	}
	return ""
}

// check says what is wrong with a task wherever it stands.
func (t *Task) check() string {
	x := t.Exchange
	kinds := 0
	for _, is := range []bool{t.Compute != 0, x != nil, t.Barrier} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return "is more than one of computation, exchange and barrier: make several tasks of it"
	case !isTime(t.Compute):
		return fmt.Sprintf("compute %v s: %s", t.Compute, mustBeTime)
	case t.Only > Last:
		return fmt.Sprintf("only %d: must be Every, First or Last", t.Only)
	case x == nil:
		return ""
	case !isTime(x.Latency) || !isTime(x.Bytes) || !isTime(x.Rate):
		return fmt.Sprintf("latency %v s, %v bytes, rate %v bytes/s: %s", x.Latency, x.Bytes, x.Rate, mustBeTime)
	case !isTime(x.Flows):
		return fmt.Sprintf("%v flows: %s", x.Flows, mustBeTime)
	case x.Link != nil && !(x.Link.Rate > 0 && isTime(x.Link.Rate)):
		return fmt.Sprintf("link %s has rate %v bytes/s: must be finite and more than 0", x.Link.Name, x.Link.Rate)
	case x.Bytes > 0 && x.Rate == 0 && x.Link == nil:
		return fmt.Sprintf("%v bytes with neither a rate nor a link: give one", x.Bytes)
	case !isTime(x.alone()):
		return fmt.Sprintf("%v bytes at %v bytes/s take for ever", x.Bytes, x.Rate)
	}
	return ""
}

// checkPlace says what is wrong with a task where it stands.
func (j *Job) checkPlace(stage int, pass Pass, n int, sends *int) string {
	s := &j.Stages[stage]
	tasks := s.tasks(pass)
	t := &tasks[n]
	x := t.Exchange
	if pass != Update && (t.Layer < 0 || len(s.Layers) > 0 && t.Layer >= len(s.Layers)) {
		return fmt.Sprintf("layer %d: the stage has %d", t.Layer, len(s.Layers))
	}
	switch {
	case pass == Update && t.Only != Every:
		return "the update runs once a step: Only must be Every"
	case pass != Update && t.Barrier:
		return "barriers are for the update"
	case x == nil:
		return ""
	}
	if x.Send {
		*sends++
	}
	switch {
	case x.NeededBy != PassEnd && !x.Beside:
		return "NeededBy is for exchanges beside the computation"
	case x.NeededBy == ByUpdate && pass != Update:
	case x.NeededBy != PassEnd && (x.NeededBy <= n || x.NeededBy >= len(tasks)):
		return fmt.Sprintf("needed by task %d: must be a later task of the pass, up to %d", x.NeededBy, len(tasks)-1)
	}
	switch {
	case !x.Send:
	case t.Only != Every:
		return "every micro-batch is sent: Only must be Every"
	case *sends > 1:
		return "a second send in the pass: a pass has one message"
	case pass == Update:
		return "sends are for forward and backward passes"
	case !j.hasAfter(stage, pass):
		return "sends, but has no neighbour there"
	}
	return ""
}

// hasAfter says whether the pass of a micro-batch goes on on another stage.
func (j *Job) hasAfter(stage int, pass Pass) bool {
	return pass == Forward && stage < len(j.Stages)-1 || pass == Backward && stage > 0
}

// hasBefore says whether the pass of a micro-batch comes from another stage.
func (j *Job) hasBefore(stage int, pass Pass) bool {
	return pass == Forward && stage > 0 || pass == Backward && stage < len(j.Stages)-1
}

// tasks returns the tasks of a pass.
func (s *Stage) tasks(p Pass) []Task {
	switch p {
	case Forward:
		return s.Forward
	case Backward:
		return s.Backward
	}
	return s.Update
}

// barriers counts barriers.
func barriers(tasks []Task) int {
	n := 0
	for i := range tasks {
		if tasks[i].Barrier {
			n++
		}
	}
	return n
}

// isTime says that t is finite and not negative.
func isTime(t float64) bool { return t >= 0 && t <= math.MaxFloat64 }

// errTooLong is a step whose length is no float64.
var errTooLong = &JobError{"the step takes longer than can be told: are times in seconds and rates in bytes a second?"}
