package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/search"
	training "github.com/galvani-ml/galvani/train"
)

// predictTiny is a workload of milliseconds.
var predictTiny = predictWorkload{"tiny", predictBERT(2, 16, 2, 300), 16, 2}

func factsOf(t *testing.T, w predictWorkload) parallel.Facts {
	t.Helper()
	m, err := models.Build(w.Model, models.Options{Batch: 1, Seq: w.Seq, Train: true})
	if err != nil {
		t.Fatal(err)
	}
	return parallel.FactsOf(m)
}

// TestEveryPlan lists a space, in which no plan comes twice and every one fits.
func TestEveryPlan(t *testing.T) {
	for _, w := range predictWorkloads {
		f := factsOf(t, w)
		for workers, want := range map[int]int{2: 55, 4: 155} {
			seen := map[string]bool{}
			stages := map[int]bool{}
			plans := everyPlan(f, workers, w.Batch)
			for _, p := range plans {
				if text := p.String(); seen[text] {
					t.Errorf("%s: %s comes twice", w.Label, text)
				} else {
					seen[text] = true
				}
				if err := p.Validate(f, workers, w.Batch); err != nil {
					t.Errorf("%s: %s: %v", w.Label, p, err)
				}
				stages[p.PP] = true
			}
			space := search.Space{Devices: workers}
			if len(plans) < want || len(plans) > 2*want || len(stages) != len(space.Stages()) {
				t.Errorf("%s, %d workers: %d plans of %d numbers of stages, want %d or some more", w.Label, workers, len(plans), len(stages), want)
			}
			some := somePlans(plans, 20)
			if len(some) != 20 || !slices.Equal(some, somePlans(plans, 20)) || len(somePlans(plans, 1000)) != len(plans) {
				t.Errorf("%s: %d plans are drawn of 20, not the same each time", w.Label, len(some))
			}
		}
	}
}

// TestSummarizePredictions computes errors and regret by hand.
func TestSummarizePredictions(t *testing.T) {
	step := func(seconds ...float64) (all []training.Metrics) {
		for _, s := range seconds {
			all = append(all, training.Metrics{Seconds: s})
		}
		return all
	}
	all := []Prediction{
		{FormulaError: 0.1, SimulatedError: -0.3, SearchBytes: 110, PlannedBytes: 100, MemoryBytes: 80},
		{FormulaError: -0.2, SimulatedError: 0.1, SearchBytes: 90, PlannedBytes: 100},
	}
	s := summarizePredictions(all)
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"formula", s.FormulaError, 0.15},
		{"simulator", s.SimulatedError, 0.2},
		{"searched memory", s.SearchedMemory, 0.1},
		{"planned memory", s.PlannedMemory, 0.25},
		{"relative", relative(1.5, 2), -0.25},
	} {
		if math.Abs(c.got-c.want) > 1e-12 {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	fast := &comparedPlan{planned: 200, rounds: [][]training.Metrics{step(3), step(1, 1, 9)}}
	slow := &comparedPlan{planned: 100, rounds: [][]training.Metrics{step(2, 2.1, 2)}}
	nearly := &comparedPlan{planned: 200, rounds: [][]training.Metrics{step(1.05)}}
	c := &comparison{plans: []*comparedPlan{fast, slow, nearly}, choices: []choice{{budget: 150, plan: slow}, {budget: 250, plan: nearly}}}
	run := (*comparedPlan).wasRun
	if c.best(150, run) != slow || c.best(250, run) != fast || c.best(50, run) != nil {
		t.Error("the best plan within a budget is not found")
	}
	if got := c.finalists(); len(got) != 3 || got[0] != slow {
		t.Errorf("%d finalists, want all three", len(got))
	}
	if got := budgets([]int64{10, 20, 30, 40, 50}); !slices.Equal(got, []int64{10, 20, 30, 50}) {
		t.Errorf("budgets %v", got)
	}
}

// TestPredict compares a few plans for real, at a tiny size.
func TestPredict(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var out, log bytes.Buffer
	o := PredictOptions{Workers: []int{2}, Plans: 2, Rounds: 1, Steps: 1, JSON: true, Log: &log, quick: true}
	if err := predict(t.Context(), o, &out, predictTiny); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var s PredictionSummary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		t.Fatal(err)
	}
	if s.Suite != "predict-summary" || s.Plans != len(lines)-1 || s.Plans < 2 || s.Workers != 2 || s.Workload != "tiny" || len(s.Regrets) == 0 {
		t.Errorf("summary %+v", s)
	}
	for _, r := range s.Regrets {
		if r.Best == "" || r.Fastest <= 0 || r.Chosen != "" && math.Abs(r.Regret-(r.Seconds/r.Fastest-1)) > 1e-12 {
			t.Errorf("regret %+v", r)
		}
	}
	for _, line := range lines[:len(lines)-1] {
		var p Prediction
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		if p.Formula <= 0 || p.Simulated <= 0 || p.Seconds > p.SecondsMedian || p.SecondsMedian > p.SecondsMax || p.SearchBytes <= 0 || p.PlannedBytes <= 0 {
			t.Errorf("prediction %+v", p)
		}
	}
	if !strings.Contains(log.String(), "round 1 of 1") {
		t.Errorf("progress %q", log.String())
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestPredictStop interrupts while the machine is measured.
func TestPredictStop(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(100*time.Millisecond, cancel).Stop()
	err := predict(ctx, PredictOptions{Workers: []int{2}}, &bytes.Buffer{}, predictTiny)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the context was canceled", err)
	}
}

func TestPredictErrors(t *testing.T) {
	for want, o := range map[string]PredictOptions{
		"no workload is named": {Workloads: []string{"gpt-5"}},
		"none may be negative": {Rounds: -1},
		"must be at least 1":   {Workers: []int{2, 0}},
		"write it as 1Gbps":    {LinkRates: []string{"fast"}},
		"from 1Mbps":           {LinkRates: []string{"1bps"}},
	} {
		if err := Predict(t.Context(), o, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestShapingMissing skips what cannot be shaped, and says why.
func TestShapingMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var log bytes.Buffer
	err := Predict(t.Context(), PredictOptions{LinkRates: []string{"1Gbps"}, Log: &log}, &bytes.Buffer{})
	if err != nil || log.String() != "bench: skipping the network of 1Gbps: ip is not installed (package iproute2)\n" {
		t.Errorf("error %v, told %q", err, log.String())
	}
}

func TestShaping(t *testing.T) {
	for rate, want := range map[string]string{
		"1Gbps":   "tc qdisc add dev lo root tbf rate 1000000000bit burst 131072 latency 100ms",
		"10Gbps":  "tc qdisc add dev lo root tbf rate 10000000000bit burst 500000 latency 100ms",
		"1.5Mbps": "tc qdisc add dev lo root tbf rate 1500000bit burst 131072 latency 100ms",
	} {
		if commands, err := shaping(rate); err != nil || strings.Join(commands[1], " ") != want {
			t.Errorf("%s: %v, %v", rate, commands, err)
		}
	}
}

func TestShortPlan(t *testing.T) {
	for text, want := range map[string]string{
		"pp=1 dp=1 tp=1 zero=0 ckpt=none micro=1 schedule=1f1b":                                               "dp=1",
		"pp=1 dp=2 tp=1 zero=3 ckpt=all micro=4 schedule=1f1b":                                                "dp=2 zero=3 ckpt=all micro=4",
		"pp=2 dp=1 tp=1 zero=0 ckpt=none micro=4 schedule=gpipe":                                              "pp=2 micro=4 schedule=gpipe",
		"pp=1 dp=1 tp=1 zero=0 ckpt=none micro=2 schedule=1f1b layers=0:tp=2;1-2:dp=2,zero=3,ckpt=all;3:sp=2": "micro=2 layers=0:tp=2;1-2:dp=2,zero=3,ckpt=all;3:sp=2",
	} {
		if got := shortPlan(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
