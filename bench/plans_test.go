package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/galvani-ml/galvani/parallel"
	training "github.com/galvani-ml/galvani/train"
)

// TestPlans trains under plans for real, at a tiny size.
func TestPlans(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	o := TrainOptions{Rounds: 2, Steps: 2, Threads: 2, JSON: true, Plans: []string{"dp=2 zero=3;dp=1", "pp=2 micro=2; layers=0:dp=2;1:tp=2;2-3:dp=2"}}
	plain := tiny
	plain.Update = false // is not measured
	if err := train(t.Context(), o, &out, tiny, plain); err != nil {
		t.Fatal(err)
	}
	var got []PlanResult
	for lines := json.NewDecoder(&out); lines.More(); {
		var r PlanResult
		if err := lines.Decode(&r); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	names := []string{"dp=1", "dp=2 zero=3", "pp=2 micro=2", "layers=0:dp=2;1:tp=2;2-3:dp=2"}
	if len(got) != len(names) {
		t.Fatalf("%d results, want %d", len(got), len(names))
	}
	for i, r := range got {
		if r.Plan != names[i] || r.Name != "step-gpt-L2-C16-H2-T8-B2-V13 "+names[i] || r.Suite != "train" || r.Unit != "tokens/s" {
			t.Errorf("result %+v, want plan %s", r, names[i])
		}
		if r.Value != float64(tiny.Tokens())/r.Seconds || r.Seconds < r.SecondsMin || r.Seconds > r.SecondsMax || r.Peers[oneWorker] <= 0 {
			t.Errorf("speed %+v", r)
		}
		alone, stages := i == 0, i == 2
		if r.Workers == 1 != alone || r.Threads*r.Workers != 2 || r.Stages == 2 != stages {
			t.Errorf("workers %+v", r)
		}
		if r.SentBytes > 0 == alone || r.CommunicationShare <= 0 && !alone || r.BubbleShare > 0 != stages || r.CommunicationShare+r.BubbleShare > 1 {
			t.Errorf("exchanges %+v", r)
		}
		if r.PlannedBytes <= 0 || !(r.LossOff <= 2e-5) || r.Loss <= 0 {
			t.Errorf("memory or loss %+v", r)
		}
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestPlansStop interrupts a run of many steps.
func TestPlansStop(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(100*time.Millisecond, cancel).Stop()
	err := train(ctx, TrainOptions{Rounds: 1, Steps: 1e6, Threads: 2, Plans: []string{"dp=2"}}, &bytes.Buffer{}, tiny)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the context was canceled", err)
	}
}

func TestPlansErrors(t *testing.T) {
	for _, c := range []struct {
		o    TrainOptions
		want string
	}{
		{TrainOptions{Plans: []string{"pp=3"}}, "bench: small: plan pp=3: --plan: "},
		{TrainOptions{Plans: []string{"dp=2;pq=2"}}, "plan pq=2: --plan: "},
		{TrainOptions{Plans: []string{"absent.json"}}, "plan absent.json: --plan: "},
		{TrainOptions{Plans: []string{"dp=2"}, Peers: []string{PeersNone}}, "leave out peers and the profile"},
		{TrainOptions{Plans: []string{"dp=2"}, Profile: true}, "leave out peers and the profile"},
	} {
		if err := train(t.Context(), c.o, &bytes.Buffer{}, tiny); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.o.Plans, err, c.want)
		}
	}
}

func TestSplitPlans(t *testing.T) {
	for text, want := range map[string][]string{
		"dp=2;pp=2 micro=4":                        {"dp=2", "pp=2 micro=4"},
		" dp=2 ;; tp=2;":                           {"dp=2", "tp=2"},
		"layers=0:dp=2;1-2:tp=2; 3 : dp=2;dp=2":    {"layers=0:dp=2;1-2:tp=2; 3 : dp=2", "dp=2"},
		"dp=2;pp=2 layers=0-1:dp=1;2:dp=1;default": {"dp=2", "pp=2 layers=0-1:dp=1;2:dp=1", "default"},
		"plan.json;1-2.json":                       {"plan.json", "1-2.json"},
		";":                                        nil,
	} {
		if d := cmp.Diff(want, splitPlans([]string{text})); d != "" {
			t.Errorf("%q:\n%s", text, d)
		}
	}
}

// TestDefaultPlans checks that each workload can be trained under each.
func TestDefaultPlans(t *testing.T) {
	for _, w := range workloads {
		plans := plansOf([]string{PlansDefault}, w)
		if len(plans) != 13 || plans[0] != onePlan {
			t.Errorf("plans %q", plans)
		}
		for _, text := range plans {
			plan, err := parallel.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			facts := parallel.Facts{Blocks: w.Layers, Seq: w.Seq}
			if err := plan.Validate(facts, plan.Mesh().Size(), w.Batch); err != nil {
				t.Errorf("%s: %s: %v", w.Label, text, err)
			}
		}
	}
}

func TestCheckSteps(t *testing.T) {
	steps := func(losses ...float64) (all []training.Metrics) {
		for i, x := range losses {
			all = append(all, training.Metrics{Step: i + 1, Loss: x})
		}
		return all
	}
	o := TrainOptions{Steps: 1}
	want := steps(2, 1.5, 1)
	if err := checkSteps("dp=2", o, steps(2, 1.50001, 1), want); err != nil {
		t.Error(err)
	}
	if err := checkSteps("dp=2", TrainOptions{Steps: 1, Precision: "bf16"}, steps(2, 1.501, 1), want); err != nil {
		t.Error(err)
	}
	err := checkSteps("dp=2", o, steps(2, 1.5001, 1), want)
	if err == nil || err.Error() != "bench: plan dp=2: in step 2 the loss is 1.5001 and that of one worker is 1.5: they do not compute the same, so nothing can be compared" {
		t.Error(err)
	}
	if err := checkSteps("dp=2", o, steps(2, 1.5), want); err == nil {
		t.Error("a step is missing, and nothing says so")
	}
}

// measured are results with everything in them.
var measured = []PlanResult{
	{
		Name: smallStep.Name() + " dp=1", Workload: "small", Plan: "dp=1", Value: 7443, Seconds: 0.1376, Workers: 1, Stages: 1, Threads: 2,
		Peers: map[string]float64{oneWorker: 1}, PeersMin: map[string]float64{oneWorker: 1}, PeersMax: map[string]float64{oneWorker: 1},
		MemoryBytes: 139 << 20, PlannedBytes: 179 << 20, Loss: 5.791008, Rounds: 3, Steps: 2,
	},
	{
		Name: smallStep.Name() + " dp=2 <&>", Workload: "small", Plan: "dp=2 <&>", Value: 5900, Seconds: 0.1736, Workers: 2, Stages: 1, Threads: 1,
		Peers: map[string]float64{oneWorker: 0.793}, PeersMin: map[string]float64{oneWorker: 0.78}, PeersMax: map[string]float64{oneWorker: 0.81},
		CommunicationShare: 0.124, SentBytes: 14 << 20, PlannedBytes: 144 << 20, Loss: 5.791008, LossOff: 8e-8, Rounds: 3, Steps: 2,
	},
	{
		Name: smallStep.Name() + " pp=2 micro=4", Workload: "small", Plan: "pp=2 micro=4", Value: 6395, Seconds: 0.1601, Workers: 2, Stages: 2, Threads: 1,
		Peers: map[string]float64{oneWorker: 0.859}, PeersMin: map[string]float64{oneWorker: 0.84}, PeersMax: map[string]float64{oneWorker: 0.9},
		CommunicationShare: 0.009, BubbleShare: 0.235, SentBytes: 1 << 20, MemoryBytes: 60 << 20, PlannedBytes: 97 << 20, Loss: 5.791008, LossOff: 4e-8,
		Rounds: 3, Steps: 2,
	},
}

func TestPlansTable(t *testing.T) {
	var got bytes.Buffer
	if err := writePlans(&got, measured); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/plans.txt", got.String())
}

func TestPlansChart(t *testing.T) {
	other := measured[1]
	other.Workload, other.Name = "char", character.Name()+" "+other.Plan
	checkPicture(t, "testdata/plans.svg", plansChart(append(slices.Clone(measured), other), "Some CPU, 2 threads"))
}
