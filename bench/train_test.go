package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/galvani-ml/galvani/exec"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

var tiny = workload{Layers: 2, Width: 16, Heads: 2, Seq: 8, Batch: 2, Vocab: 13, Update: true, Label: "small"}

// TestTrain measures both sides for real, at a tiny size. They must have
// computed the same losses, or Train fails.
func TestTrain(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out bytes.Buffer
	plain, tied := tiny, tiny
	plain.Update, tied.Tied = false, true
	if err := train(t.Context(), TrainOptions{Rounds: 2, Steps: 2, Threads: 1, JSON: true}, &out, tiny, plain, tied); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(&out)
	for _, name := range []string{"step-gpt-L2-C16-H2-T8-B2-V13", "backward-gpt-L2-C16-H2-T8-B2-V13", "step-gpt-L2-C16-H2-T8-B2-V13-tied"} {
		var r Result
		if err := lines.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if r.Suite != "train" || r.Name != name || r.Unit != "tokens/s" || r.Value <= 0 || r.Value != r.TokensPerSecond {
			t.Errorf("result %+v", r)
		}
		if r.Peers[theirs] <= 0 || r.Theirs[theirs].AllocBytes <= 0 || r.Threads != 1 {
			t.Errorf("comparison %+v", r.Training)
		}
		if runtime.GOOS == "linux" && (r.MemoryBytes <= 0 || r.MemoryOfPeers[theirs] <= 0) {
			t.Errorf("memory %d, ratio %v", r.MemoryBytes, r.MemoryOfPeers)
		}
	}
}

// TestPasses measures passes beside the usual ones; all compute the same.
func TestPasses(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out bytes.Buffer
	o := TrainOptions{Rounds: 2, Steps: 2, Threads: 1, JSON: true, Peers: []string{PeersNone}, Dropout: 0.1,
		DisablePass: []exec.Pass{exec.Epilogue, exec.InPlace}, EnablePass: []exec.Pass{exec.Recompute}}
	if err := train(t.Context(), o, &out, tiny); err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	usual, ok := r.Theirs["galvani-usual"]
	if !ok || usual.Loss != r.Side.Loss || r.Name != "step-gpt-L2-C16-H2-T8-B2-V13-dropout-0.1-no-epilogue-no-inplace-recompute" {
		t.Errorf("%+v", r)
	}
	for _, c := range []struct {
		o    TrainOptions
		want string
	}{
		{TrainOptions{DisablePass: []exec.Pass{"epilog"}}, `there is no pass "epilog"`},
		{TrainOptions{Dropout: 1}, "dropout 1: must be in [0, 1)"},
		{TrainOptions{Dropout: 0.1}, "peers train without dropout"},
	} {
		if err := train(t.Context(), c.o, &out, tiny); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// TestPrecision measures bf16 beside fp32; both must learn.
func TestPrecision(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out bytes.Buffer
	if err := train(t.Context(), TrainOptions{Rounds: 2, Steps: 2, Threads: 1, JSON: true, Precision: "bf16"}, &out, tiny); err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := json.NewDecoder(&out).Decode(&r); err != nil {
		t.Fatal(err)
	}
	if r.Name != "step-gpt-L2-C16-H2-T8-B2-V13-bf16" || len(r.Theirs) != 1 || r.Peers["galvani-fp32"] <= 0 {
		t.Errorf("result %+v", r)
	}
	if r.Loss == r.Theirs["galvani-fp32"].Loss {
		t.Errorf("both losses are %g: bf16 was not used", r.Loss)
	}
	err := train(t.Context(), TrainOptions{Precision: "fp8"}, &out, tiny)
	if err == nil || !strings.Contains(err.Error(), `precision "fp8" is unknown`) {
		t.Errorf("fp8 gives %v", err)
	}
}

// TestContest measures fakes of known relation.
func TestContest(t *testing.T) {
	defer goleak.VerifyNone(t)
	r, err := contest(t.Context(), TrainOptions{Rounds: 3, Steps: 2, Threads: 1}, tiny, self("fast"), self("slow"), self("slower"))
	if err != nil {
		t.Fatal(err)
	}
	slow := r.Theirs["slow"]
	if len(r.Theirs) != 2 || r.Peers["slower"] <= r.Peers["slow"] {
		t.Errorf("peers %v", r.Peers)
	}
	if ratio := r.Peers["slow"]; ratio <= 1 || ratio < r.PeersMin["slow"] || ratio > r.PeersMax["slow"] {
		t.Errorf("ratio %g, from %g to %g", ratio, r.PeersMin["slow"], r.PeersMax["slow"])
	}
	if slow.Seconds < 2e-3 || slow.Seconds < slow.SecondsMin || slow.Seconds > slow.SecondsMax {
		t.Errorf("slow side %+v, sleeps 2 ms a step", slow)
	}
	if want := float64(tiny.Tokens()) / slow.Seconds; slow.TokensPerSecond != want || slow.Loss != 2 {
		t.Errorf("slow side %+v, want %g tokens/s", slow, want)
	}
}

// TestFailures checks that whatever happens to a child is told and that
// nothing of it stays behind.
func TestFailures(t *testing.T) {
	for kind, want := range map[string]string{
		"wrong":  "they do not compute the same",
		"broken": "bench: broken: the step is broken",
		"unable": "bench: unable: no such hardware",
		"crash":  "struck by lightning",
		"absent": `no runner is named "absent"`,
	} {
		t.Run(kind, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			_, err := contest(t.Context(), TrainOptions{Rounds: 1, Steps: 1, Threads: 1}, tiny, self("fast"), self(kind))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an error with %q", err, want)
			}
		})
	}
}

// TestCancel ends the context while a child is in a step that never ends.
func TestCancel(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := self("hang").open(ctx, TrainOptions{Threads: 1}, tiny)
	if err != nil {
		t.Fatal(err)
	}
	p := s.(*process)
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := p.steps(1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the context was canceled", err)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if p.cmd.ProcessState == nil {
		t.Error("the process was not waited for")
	}
}

// TestLate gives a child less time than it takes.
func TestLate(t *testing.T) {
	defer goleak.VerifyNone(t)
	s, err := self("hang").open(t.Context(), TrainOptions{Threads: 1}, tiny)
	if err != nil {
		t.Fatal(err)
	}
	p := s.(*process)
	p.timeout = 20 * time.Millisecond
	if _, err := p.steps(1); err == nil || !strings.Contains(err.Error(), "hang: no answer within 20ms") {
		t.Errorf("got %v", err)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
}

// TestProfile has every millisecond of a step go somewhere.
func TestProfile(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out bytes.Buffer
	o := TrainOptions{Rounds: 1, Steps: 2, Threads: 1, Peers: []string{PeersNone}, Profile: true, JSON: true}
	if err := train(t.Context(), o, &out, tiny); err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := json.NewDecoder(&out).Decode(&r); err != nil {
		t.Fatal(err)
	}
	if r.OfPeak <= 0 || r.Peak <= 0 || len(r.Theirs) != 0 {
		t.Errorf("result %+v", r)
	}
	share, seen, products := 0.0, map[string]KernelTime{}, 0
	for _, k := range r.Profile {
		share += k.Share
		seen[k.Kind] = k
		if strings.HasPrefix(k.Kind, "linear") && k.Pass == "forward" {
			products += int(k.Count)
		}
	}
	if math.Abs(share-1) > 1e-6 {
		t.Errorf("the shares add up to %g", share)
	}
	if k := seen["linear"]; k.Pass != "forward" || products != 9 || k.GFLOPs <= 0 || k.OfPeak <= 0 {
		t.Errorf("products %+v", k)
	}
	if k := seen["AdamW"]; k.Pass != "update" || k.Millis <= 0 || k.Count != 29 {
		t.Errorf("update %+v", k)
	}
}

func TestTrainOptions(t *testing.T) {
	err := Train(t.Context(), TrainOptions{Rounds: -1}, nil)
	if err == nil || !strings.Contains(err.Error(), "-1 rounds") {
		t.Errorf("got %v", err)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		x    []float64
		want float64
	}{
		{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 3, 1, 2}, 2.5},
	} {
		kept := append([]float64{}, c.x...)
		if got := median(c.x); got != c.want {
			t.Errorf("median of %v is %g, want %g", c.x, got, c.want)
		}
		if !cmp.Equal(c.x, kept) {
			t.Errorf("median changed %v to %v", kept, c.x)
		}
	}
}
