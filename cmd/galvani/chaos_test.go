//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The flags of the fault suite; make chaos gives more faults.
var (
	faults    = flag.Int("faults", 4, "faults of the fault suite")
	faultSeed = flag.Uint64("fault-seed", 1, "seed of the faults' kinds, places and times")
)

// faultKinds are what the suite does to the workers of a run.
var faultKinds = []struct {
	name string
	do   func(workers []int, draw *rand.Rand)
}{
	{"SIGKILL", func(w []int, draw *rand.Rand) { syscall.Kill(w[draw.IntN(len(w))], syscall.SIGKILL) }},
	{"SIGSTOP", func(w []int, draw *rand.Rand) { syscall.Kill(w[draw.IntN(len(w))], syscall.SIGSTOP) }},
	{"SIGABRT", func(w []int, draw *rand.Rand) { syscall.Kill(w[draw.IntN(len(w))], syscall.SIGABRT) }},
	{"SIGKILL of all", func(w []int, _ *rand.Rand) {
		for _, pid := range w {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}},
}

// faultRecord is what a fault cost.
type faultRecord struct {
	kind           string
	detect, resume time.Duration
	lost           int
}

const (
	chaosSteps  = 300
	chaosEvery  = 5 // steps between snapshots
	chaosPerRun = 4 // faults
)

// TestChaos disturbs runs at random moments, and finds the bits of a run that
// was left alone, and no process left behind.
func TestChaos(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("It was the best of times, it was the worst of times. ", 60)
	if err := os.WriteFile(filepath.Join(dir, "text.txt"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	draw := rand.New(rand.NewPCG(*faultSeed, 0))
	plans := []string{"dp=2", "pp=2 micro=2", "dp=2 zero=3", "tp=3"}
	args := func(plan, out string) []string {
		return []string{"train", "--model", "gpt-nano", "--data", "text.txt", "--vocab", "300", "--steps", fmt.Sprint(chaosSteps),
			"--batch", "4", "--seq", "16", "--dropout", "0.1", "--plan", plan, "--snapshot-every", fmt.Sprint(chaosEvery), "--save-every", "60",
			"--max-restarts", "100", "--sample", "0", "--json", "--out", out}
	}
	whole := map[string]string{} // undisturbed runs by plan
	var records []faultRecord
	for run := 0; len(records) < *faults; run++ {
		plan := plans[draw.IntN(len(plans))]
		if whole[plan] == "" {
			whole[plan] = fmt.Sprintf("whole-%d", len(whole))
			galvani(t, dir, args(plan, whole[plan])...)
		}
		out := fmt.Sprintf("run-%d", run)
		p := start(t, dir, args(plan, out)...)
		records = append(records, disturb(t, p, filepath.Join(dir, out), min(chaosPerRun, *faults-len(records)), draw)...)
		last := filepath.Join("checkpoints", fmt.Sprintf("step-%08d", chaosSteps))
		for _, pattern := range []string{"model*.safetensors", "optimizer*.safetensors"} {
			sameFiles(t, filepath.Join(dir, whole[plan], last), filepath.Join(dir, out, last), pattern)
		}
		sameLosses(t, filepath.Join(dir, whole[plan], "metrics.jsonl"), filepath.Join(dir, out, "metrics.jsonl"))
		if t.Failed() {
			t.Fatalf("plan %s:\n%s", plan, p.errs.String())
		}
		os.RemoveAll(filepath.Join(dir, out))
	}
	t.Logf("%d faults, each run with the bits of an undisturbed one\n%s", len(records), faultTable(records))
}

// disturb does n faults to a run, as far as it lasts, and follows it to its end.
func disturb(t *testing.T, p *program, out string, n int, draw *rand.Rand) (records []faultRecord) {
	t.Helper()
	var steps, everyone []int
	for range n {
		steps = append(steps, 1+draw.IntN(chaosSteps-20))
	}
	slices.Sort(steps)
	for i, step := range steps {
		until(t, "step "+fmt.Sprint(step), func() bool {
			text, _ := os.ReadFile(filepath.Join(out, "metrics.jsonl"))
			return bytes.Count(text, []byte("\n")) >= step
		})
		time.Sleep(time.Duration(draw.IntN(20)) * time.Millisecond)
		kind := faultKinds[draw.IntN(len(faultKinds))]
		workers := p.workers(t)
		if len(workers) == 0 {
			break // the run is over
		}
		everyone = append(everyone, workers...)
		began := time.Now()
		kind.do(workers, draw)
		r := faultRecord{kind: kind.name, detect: p.says(t, "\nfailed ", i+1, began)}
		if r.detect == 0 {
			break // it was over
		}
		if r.resume = p.says(t, "\nrecovered ", i+1, began); r.resume == 0 {
			break // nothing was left to do
		}
		records = append(records, r)
	}
	if err := p.wait(t, time.Minute); err != nil {
		t.Fatalf("%v:\n%s", err, p.errs.String())
	}
	gone(t, everyone)
	var result struct {
		Restarts []struct {
			Lost int `json:"lost_steps"`
		}
	}
	if err := json.Unmarshal([]byte(p.out.String()), &result); err != nil {
		t.Fatal(err)
	}
	for i := range records {
		records[i].lost = result.Restarts[i].Lost
		if records[i].lost > chaosEvery {
			t.Errorf("%s: %d steps are lost, with a snapshot every %d", records[i].kind, records[i].lost, chaosEvery)
		}
	}
	return records
}

// says returns how long after began the program says what for the nth time; 0 if
// it ends before.
func (p *program) says(t *testing.T, what string, n int, began time.Time) time.Duration {
	t.Helper()
	for time.Since(began) < 30*time.Second {
		if strings.Count(p.errs.String(), what) >= n {
			return time.Since(began)
		}
		select {
		case err := <-p.done:
			p.done <- err
			return 0
		case <-time.After(time.Millisecond):
		}
	}
	t.Fatalf("it does not say %q:\n%s", what, p.errs.String())
	return 0
}

// faultTable has the median and the most of each kind's costs.
func faultTable(records []faultRecord) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-16s %6s  %-19s  %-19s  %s\n", "fault", "number", "detected after", "resumed after", "steps lost")
	for _, kind := range faultKinds {
		var detect, resume []time.Duration
		var lost []int
		for _, r := range records {
			if r.kind == kind.name {
				detect, resume, lost = append(detect, r.detect), append(resume, r.resume), append(lost, r.lost)
			}
		}
		if len(lost) == 0 {
			continue
		}
		slices.Sort(detect)
		slices.Sort(resume)
		slices.Sort(lost)
		span := func(d []time.Duration) string {
			return fmt.Sprintf("%v, %v", d[len(d)/2].Round(time.Millisecond), d[len(d)-1].Round(time.Millisecond))
		}
		fmt.Fprintf(&b, "%-16s %6d  %-19s  %-19s  %d, %d\n", kind.name, len(lost), span(detect), span(resume), lost[len(lost)/2], lost[len(lost)-1])
	}
	return b.String() + "median and most of each\n"
}
