package simulate

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/parallel"
	"pgregory.net/rapid"
)

// TestErrors gives jobs that make no sense.
func TestErrors(t *testing.T) {
	valid := func() *Job {
		return &Job{Stages: []Stage{plain(1, 2), plain(1, 2)}, Micro: 2, Schedule: parallel.OneFOneB}
	}
	forward := func(k Task) func(*Job) {
		return func(j *Job) { j.Stages[0].Forward = append(j.Stages[0].Forward, k) }
	}
	update := func(k Task) func(*Job) {
		return func(j *Job) { j.Stages[1].Update = append(j.Stages[1].Update, k) }
	}
	nan, inf := math.NaN(), math.Inf(1)
	type change = func(*Job)
	for _, c := range []struct {
		want   string
		change change
	}{
		{"no stages", func(j *Job) { j.Stages = nil }},
		{"0 micro-batches", func(j *Job) { j.Micro = 0 }},
		{`schedule "zigzag": must be one of [gpipe 1f1b]`, func(j *Job) { j.Schedule = "zigzag" }},
		{"-1 cores", func(j *Job) { j.Cores = -1 }},
		{"slow-down 0.5", func(j *Job) { j.Overlap = 0.5 }},
		{"slow-down NaN", func(j *Job) { j.Overlap = nan }},
		{"stage 1: -2 ranks", func(j *Job) { j.Stages[1].Ranks = -2 }},
		{"stage 1: -1 bytes", func(j *Job) { j.Stages[1].Layers = []Layer{{Peak: -1}} }},
		{"stage 0: 1.84e+19 bytes", func(j *Job) { j.Stages[0].Activation = math.MaxInt64 }},
		{"stage 1: 1 barriers in its update, stage 0 has 0", update(Task{Barrier: true})},
		{"stage 0, forward, task 1 (x): compute -1 s: must be finite", forward(Task{Name: "x", Compute: -1})},
		{"compute NaN s", forward(Task{Compute: nan})},
		{"layer 3: the stage has 1", func(j *Job) { j.Stages[0].Layers = []Layer{{}}; forward(Task{Layer: 3})(j) }},
		{"layer -1", forward(Task{Layer: -1})},
		{"only 7", forward(Task{Only: 7})},
		{"more than one of", forward(Task{Compute: 1, Exchange: &Exchange{}})},
		{"barriers are for the update", forward(Task{Barrier: true})},
		{"runs once a step", update(Task{Only: Last})},
		{"latency +Inf s", forward(Task{Exchange: &Exchange{Latency: inf}})},
		{"-3 flows", forward(Task{Exchange: &Exchange{Flows: -3}})},
		{"link net has rate 0 bytes/s", forward(Task{Exchange: &Exchange{Link: &Link{Name: "net"}}})},
		{"8 bytes with neither", forward(Task{Exchange: &Exchange{Bytes: 8}})},
		{"take for ever", forward(Task{Exchange: &Exchange{Bytes: 1e300, Rate: 1e-300}})},
		{"NeededBy is for exchanges beside", forward(Task{Exchange: &Exchange{NeededBy: 5}})},
		{"needed by task 1: must be a later task of the pass, up to 1", forward(Task{Exchange: &Exchange{Beside: true, NeededBy: 1}})},
		{"needed by task -2", forward(Task{Exchange: &Exchange{Beside: true, NeededBy: -2}})},
		{"needed by task -1", update(Task{Exchange: &Exchange{Beside: true, NeededBy: ByUpdate}})},
		{"every micro-batch is sent", forward(Task{Only: Last, Exchange: &Exchange{Send: true}})},
		{"second send", func(j *Job) {
			forward(Task{Exchange: &Exchange{Send: true}})(j)
			forward(Task{Exchange: &Exchange{Send: true}})(j)
		}},
		{"sends are for", update(Task{Exchange: &Exchange{Send: true}})},
		{"has no neighbour there", func(j *Job) { j.Stages[0].Backward = []Task{{Exchange: &Exchange{Send: true}}} }},
		{"longer than can be told", func(j *Job) { j.Stages[0].Forward[0].Compute = math.MaxFloat64 }},
	} {
		j := valid()
		c.change(j)
		timeline, err := Play(j)
		if timeline != nil || err == nil || !strings.HasPrefix(err.Error(), "simulate: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, expected %s", err, c.want)
			continue
		}
		var ofJob *JobError
		var ofStage *StageError
		var ofTask *TaskError
		if !errors.As(err, &ofJob) && !errors.As(err, &ofStage) && !errors.As(err, &ofTask) {
			t.Errorf("%v is a %T", err, err)
		}
	}
	if err := valid().Validate(); err != nil {
		t.Error(err)
	}
}

// TestNeverPanics plays jobs with any numbers: they end, with a step or an error.
func TestNeverPanics(t *testing.T) {
	odd := []float64{0, 1, 1e-310, 1e-30, 1e30, 1e308, -1, math.NaN(), math.Inf(1)}
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, true)
		draw := func(x *float64) {
			if rapid.IntRange(0, 3).Draw(t, "odd") == 0 {
				*x = rapid.SampledFrom(odd).Draw(t, "number")
			}
		}
		draw(&j.Cores)
		draw(&j.Overlap)
		for i := range j.Stages {
			for _, pass := range []Pass{Forward, Backward, Update} {
				for _, k := range j.Stages[i].tasks(pass) {
					if x := k.Exchange; x != nil {
						draw(&x.Latency)
						draw(&x.Bytes)
						draw(&x.Rate)
						draw(&x.Flows)
						x.NeededBy = rapid.IntRange(-1, 4).Draw(t, "needed by")
					}
				}
			}
		}
		timeline, err := Play(j)
		if err == nil && !isTime(timeline.Step) {
			t.Fatal(fmt.Sprint("step ", timeline.Step))
		}
	})
}
