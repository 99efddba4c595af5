//go:build linux

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The flags of the fault suite; make chaos gives more faults.
var (
	faults    = flag.Int("faults", 6, "faults of the fault suite")
	faultSeed = flag.Uint64("fault-seed", 1, "seed of the faults' kinds, places and times; 0 draws one")
	faultKind = flag.String("fault-kind", "", "the only kind of fault; all kinds if empty")
	faultJSON = flag.String("fault-json", "", "file for the records of the faults, in JSON")
)

// faultRecord is what a fault cost.
type faultRecord struct {
	Kind   string        `json:"fault"`
	Plane  string        `json:"plane"`
	Plan   string        `json:"plan"`
	Phase  string        `json:"phase"` // empty for any
	Detect time.Duration `json:"detect_ns"`
	Resume time.Duration `json:"resume_ns"`
	Lost   int           `json:"lost_steps"`
}

const (
	chaosSteps  = 300
	chaosEvery  = 5 // steps between snapshots
	chaosSaves  = 20
	chaosPerRun = 5 // faults
)

// chaosRun is one run that is disturbed.
type chaosRun struct {
	t       *testing.T
	draw    *rand.Rand
	program *program
	proxy   *proxy
	workers []int // at the moment
	out     string
	plane   string
	plan    string
	address string // of the server

	serving sync.Mutex // guards what follows
	server  *exec.Cmd
	over    bool
}

// TestChaos disturbs runs, and finds the bits of a run that was left alone, and no
// process left behind.
func TestChaos(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("It was the best of times, it was the worst of times. ", 60)
	if err := os.WriteFile(filepath.Join(dir, "text.txt"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	seed := cmp.Or(*faultSeed, uint64(time.Now().UnixNano()))
	t.Logf("-fault-seed=%d", seed)
	draw := rand.New(rand.NewPCG(seed, 0))
	if *faultKind != "" {
		chaosFaults = slices.DeleteFunc(chaosFaults, func(f fault) bool { return f.name != *faultKind })
	}
	plans := []string{"dp=2", "pp=2 micro=2", "dp=2 zero=3", "tp=3"}
	args := func(plan, plane, url, out string) []string {
		return []string{"train", "--model", "gpt-nano", "--data", "text.txt", "--vocab", "300", "--steps", fmt.Sprint(chaosSteps),
			"--batch", "4", "--seq", "16", "--dropout", "0.1", "--plan", plan, "--collectives", plane, "--nats", url,
			"--snapshot-every", fmt.Sprint(chaosEvery), "--save-every", fmt.Sprint(chaosSaves),
			"--max-restarts", "100", "--sample", "0", "--json", "--out", out}
	}
	whole := map[string]string{} // undisturbed runs by plan
	var records []faultRecord
	for run := 0; len(records) < *faults; run++ {
		r := &chaosRun{t: t, draw: draw, plan: plans[draw.IntN(len(plans))], plane: []string{"nats", "tcp", "shm"}[draw.IntN(3)], address: freeAddress(t)}
		if !slices.ContainsFunc(chaosFaults, func(f fault) bool { return len(f.planes) == 0 || slices.Contains(f.planes, r.plane) }) {
			continue
		}
		if whole[r.plan] == "" {
			whole[r.plan] = fmt.Sprintf("whole-%d", len(whole))
			galvani(t, dir, args(r.plan, "auto", "", whole[r.plan])...)
		}
		r.server = startNATS(t, r.address)
		until(t, "a NATS server", func() bool { return listens(r.address) })
		r.proxy = newProxy(t, r.address)
		r.out = filepath.Join(dir, fmt.Sprintf("run-%d", run))
		r.program = start(t, dir, args(r.plan, r.plane, r.proxy.url(), r.out)...)
		records = append(records, r.disturb(min(chaosPerRun, *faults-len(records)))...)
		r.end()
		last := filepath.Join("checkpoints", fmt.Sprintf("step-%08d", chaosSteps))
		for _, pattern := range []string{"model*.safetensors", "optimizer*.safetensors"} {
			sameFiles(t, filepath.Join(dir, whole[r.plan], last), filepath.Join(r.out, last), pattern)
		}
		sameLosses(t, filepath.Join(dir, whole[r.plan], "metrics.jsonl"), filepath.Join(r.out, "metrics.jsonl"))
		if t.Failed() {
			t.Fatalf("plan %s over %s:\n%s", r.plan, r.plane, r.program.errs.String())
		}
		os.RemoveAll(r.out)
	}
	t.Logf("%d faults, each run with the bits of an undisturbed one\n%s", len(records), faultTable(records))
	if *faultJSON != "" {
		text, err := json.MarshalIndent(records, "", "  ")
		if err == nil {
			err = os.WriteFile(*faultJSON, text, 0o666)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// end ends the server.
func (r *chaosRun) end() {
	r.serving.Lock()
	defer r.serving.Unlock()
	r.over = true
	r.server.Process.Kill()
	r.server.Wait()
}

// disturb does n faults to a run, as far as it lasts, and follows it to its end.
func (r *chaosRun) disturb(n int) (records []faultRecord) {
	t, p := r.t, r.program
	t.Helper()
	var steps, everyone, failures []int
	for range n {
		steps = append(steps, 1+r.draw.IntN(chaosSteps-40))
	}
	slices.Sort(steps)
	for _, step := range steps {
		until(t, "step "+fmt.Sprint(step), func() bool {
			text, _ := os.ReadFile(filepath.Join(r.out, "metrics.jsonl"))
			return bytes.Count(text, []byte("\n")) >= step || p.ended()
		})
		if r.workers = p.workers(t); len(r.workers) == 0 {
			break // the run is over
		}
		everyone = append(everyone, r.workers...)
		f, phase := faultOf(r.draw, r.plane, r.plan)
		failed, recovered := strings.Count(p.errs.String(), "\nfailed "), strings.Count(p.errs.String(), "\nrecovered ")
		began, ok := f.strike(r, phase)
		if !ok {
			break
		}
		record := faultRecord{Kind: f.name, Plane: r.plane, Plan: r.plan, Phase: phase}
		if record.Detect = p.says(t, "\nfailed ", failed+1, began); record.Detect == 0 {
			break // it was over
		}
		if record.Resume = p.says(t, "\nrecovered ", recovered+1, began); record.Resume == 0 {
			break // nothing was left to do
		}
		records, failures = append(records, record), append(failures, failed)
	}
	if err := p.wait(t, time.Minute); err != nil {
		t.Fatalf("plan %s over %s: %v:\n%s", r.plan, r.plane, err, p.errs.String())
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
		records[i].Lost = result.Restarts[failures[i]].Lost
		if records[i].Lost > chaosEvery {
			t.Errorf("%s: %d steps are lost, with a snapshot every %d", records[i].Kind, records[i].Lost, chaosEvery)
		}
	}
	return records
}

// ended reports whether the program has.
func (p *program) ended() bool {
	select {
	case err := <-p.done:
		p.done <- err
		return true
	default:
		return false
	}
}

// says returns how long after began the program says what for the nth time; 0 if
// it ends before.
func (p *program) says(t *testing.T, what string, n int, began time.Time) time.Duration {
	t.Helper()
	for time.Since(began) < 40*time.Second {
		if strings.Count(p.errs.String(), what) >= n {
			return time.Since(began)
		}
		if p.ended() {
			return 0
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("it does not say %q:\n%s", what, p.errs.String())
	return 0
}

// faultTable has the median and the most of each kind's costs.
func faultTable(records []faultRecord) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-18s %6s  %-19s  %-19s  %-10s  %s\n", "fault", "number", "detected after", "resumed after", "steps lost", "phases")
	for _, f := range chaosFaults {
		var detect, resume []time.Duration
		var lost []int
		phases := map[string]bool{}
		for _, r := range records {
			if r.Kind == f.name {
				detect, resume, lost = append(detect, r.Detect), append(resume, r.Resume), append(lost, r.Lost)
				phases[cmp.Or(r.Phase, "any")] = true
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
		var names []string
		for _, phase := range []string{inForward, inBackward, inReduction, inVote, inUpdate, inSnapshot, inCheckpoint, "any"} {
			if phases[phase] {
				names = append(names, phase)
			}
		}
		fmt.Fprintf(&b, "%-18s %6d  %-19s  %-19s  %-10s  %s\n", f.name, len(lost), span(detect), span(resume),
			fmt.Sprintf("%d, %d", lost[len(lost)/2], lost[len(lost)-1]), strings.Join(names, " "))
	}
	return b.String() + "median and most of each\n"
}
