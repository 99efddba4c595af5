//go:build linux

package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/internal/plantest"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
	"github.com/galvani-ml/galvani/parallel"
)

// The flags of the test of plans, as those of train's.
var (
	plansDrawn = flag.Int("plans", 2, "plans to draw for each model")
	onePlan    = flag.String("plan", "", "test this plan instead of drawing")
	oneModel   = flag.String("plan-model", "", "test this model instead of all")
	oneBatch   = flag.Int("plan-batch", 24, "sequences a step for -plan")
)

// TestEveryPlanTrainsAlike draws plans as train's test of the same name does,
// and trains under them in worker processes that talk over NATS: two steps under
// the plan, saved and resumed for two more on one worker. It finds the losses of
// one worker without interruption.
func TestEveryPlanTrainsAlike(t *testing.T) {
	for _, m := range plantest.Models() {
		if *oneModel != "" && *oneModel != m.Name {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			w := newWorkbench(t, m)
			if *onePlan != "" {
				plan, err := parallel.Parse(*onePlan)
				if err == nil {
					err = w.check(plan, *oneBatch)
				}
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			setChecks(t, *plansDrawn)
			rapid.Check(t, func(rt *rapid.T) {
				plan, batch := plantest.Draw(rt)
				if err := w.check(plan, batch); err != nil {
					rt.Fatalf("%v\nreproduce: go test ./cmd/galvani -v -run EveryPlan -plan-model %s -plan-batch %d -plan '%v'", err, m.Name, batch, plan)
				}
			})
		})
	}
}

// setChecks has rapid draw n times, for as long as the test runs. Its own
// number is meant for tests that start no processes.
func setChecks(t *testing.T, n int) {
	t.Helper()
	checks := flag.Lookup("rapid.checks").Value
	before := checks.String()
	if err := checks.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checks.Set(before) })
}

// workbench is a directory with a model and its data.
type workbench struct {
	t     *testing.T
	dir   string
	model plantest.Model
	runs  int            // so far
	want  map[int][]line // what one worker's metrics say, by batch
}

// line is what a line of metrics says that does not depend on time.
type line struct {
	Step     int      `json:"step"`
	Loss     float64  `json:"loss"`
	GradNorm float64  `json:"grad_norm"`
	ValLoss  *float64 `json:"val_loss"`
}

const (
	planSteps = 4
	savedStep = 2
)

func newWorkbench(t *testing.T, m plantest.Model) *workbench {
	t.Helper()
	w := &workbench{t: t, dir: t.TempDir(), model: m, want: map[int][]line{}}
	writeModel(t, filepath.Join(w.dir, "model"), m.Config)
	var tokens, labels []byte
	draw := rand.New(rand.NewPCG(1, 2))
	for i := range 12_000 {
		token, label := 2+i%9, -100
		if draw.IntN(10) == 0 {
			token = 2 + draw.IntN(27)
		}
		if i%7 == 0 {
			token, label = 1, token
		}
		tokens = binary.LittleEndian.AppendUint16(tokens, uint16(token))
		labels = binary.LittleEndian.AppendUint16(labels, uint16(label))
	}
	for name, content := range map[string][]byte{"tokens.bin": tokens, "labels.bin": labels} {
		if err := os.WriteFile(filepath.Join(w.dir, name), content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// writeModel draws parameters and makes them a Hugging Face directory.
func writeModel(t *testing.T, dir string, config models.Config) {
	t.Helper()
	m, err := models.Build(config, models.Options{Batch: 1, Seq: 1})
	if err != nil {
		t.Fatal(err)
	}
	tensors := map[string]hf.Tensor{}
	for _, p := range m.Params {
		x := make([]float32, p.Size())
		models.InitValue(p, 3, x)
		tensors[p.Name] = hf.Tensor{Shape: p.Stored, Data: x}
	}
	if err := hf.Write(dir, config, maps.All(tensors)); err != nil {
		t.Fatal(err)
	}
}

// train trains in a new directory, which it returns.
func (w *workbench) train(plan string, batch, steps int) (string, error) {
	w.runs++
	out := fmt.Sprintf("run-%d", w.runs)
	args := []string{
		"train", "--init", "model", "--data", "tokens.bin", "--batch", fmt.Sprint(batch), "--seq", fmt.Sprint(plantest.Seq),
		"--steps", fmt.Sprint(steps), "--lr", "2e-3", "--lr-schedule", "constant", "--warmup", "0", "--dropout", "0.2", "--seed", "3",
		"--sample", "0", "--plan", plan, "--out", out,
	}
	if w.model.Config.Type() == "bert" {
		args = append(args, "--labels", "labels.bin", "--data-order", "sequential")
	}
	return out, w.run(args...)
}

// resume continues a run to the last step.
func (w *workbench) resume(out, plan string) error {
	workers := 1
	if p, err := parallel.Parse(plan); err == nil {
		workers = p.Mesh().Size()
	}
	return w.run("train", "--resume", "--out", out, "--steps", fmt.Sprint(planSteps), "--plan", plan, "--workers", fmt.Sprint(workers))
}

// run runs the program to its end, and puts the command into an error.
func (w *workbench) run(args ...string) error {
	command := commandLine(args)
	w.t.Log(command)
	p := start(w.t, w.dir, args...)
	if err := p.wait(w.t, time.Minute); err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, p.errs.String())
	}
	return nil
}

// commandLine is how a person types it.
func commandLine(args []string) string {
	words := []string{"galvani"}
	for _, a := range args {
		if strings.ContainsAny(a, " ;") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

func (w *workbench) lines(out string) ([]line, error) {
	text, err := os.ReadFile(filepath.Join(w.dir, out, "metrics.jsonl"))
	if err != nil {
		return nil, err
	}
	var lines []line
	for row := range strings.Lines(string(text)) {
		var l line
		if err := json.Unmarshal([]byte(row), &l); err != nil {
			return nil, err
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// reference returns the metrics of one worker.
func (w *workbench) reference(batch int) ([]line, error) {
	if want, ok := w.want[batch]; ok {
		return want, nil
	}
	out, err := w.train("pp=1", batch, planSteps)
	if err != nil {
		return nil, err
	}
	want, err := w.lines(out)
	w.want[batch] = want
	return want, err
}

// check trains under a plan, resumes on one worker, and compares.
func (w *workbench) check(plan *parallel.Plan, batch int) error {
	return w.checkResume(plan.String(), "pp=1", batch)
}

// checkResume trains under a plan, resumes under another, and compares.
func (w *workbench) checkResume(from, to string, batch int) error {
	out, err := w.train(from, batch, savedStep)
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(w.dir, out))
	if err := w.resume(out, to); err != nil {
		return err
	}
	return w.compare(out, batch)
}

// compare compares the losses and gradient norms of a run with one worker's.
func (w *workbench) compare(out string, batch int) error {
	want, err := w.reference(batch)
	if err != nil {
		return err
	}
	got, err := w.lines(out)
	if err != nil {
		return err
	}
	if len(got) != len(want) || len(want) != planSteps {
		return fmt.Errorf("%d steps, on one worker %d, expected %d", len(got), len(want), planSteps)
	}
	var off []string
	near := func(what string, step int, got, want, tolerance float64) {
		if !(math.Abs(got-want) <= tolerance*math.Abs(want)) {
			off = append(off, fmt.Sprintf("%s of step %d is %.9g, on one worker %.9g", what, step, got, want))
		}
	}
	for i, g := range want {
		near("loss", g.Step, got[i].Loss, g.Loss, 2e-5)
		near("gradient norm", g.Step, got[i].GradNorm, g.GradNorm, 1e-4)
		if g.ValLoss != nil && got[i].ValLoss != nil {
			near("validation loss", g.Step, *got[i].ValLoss, *g.ValLoss, 2e-5)
		}
	}
	if off != nil {
		return fmt.Errorf("%s", strings.Join(off, "\n"))
	}
	return nil
}

// TestResumeUnderAnotherPlan saves under one plan and resumes under another, and
// finds the losses of the run on one worker that was not interrupted.
func TestResumeUnderAnotherPlan(t *testing.T) {
	const (
		one   = "pp=1"
		mixed = "pp=2 micro=2 layers=0:dp=4,zero=3;1:dp=2,tp=2,ckpt=all;2:tp=4;3:dp=2,sp=2,zero=1;4:cp=2,dp=2,order=cp,dp;5:tp=2,dp=2,zero=3"
	)
	for _, m := range plantest.Models() {
		if m.Name != "gpt-odd" && m.Name != "bert-odd-untied" {
			continue // these two say most
		}
		t.Run(m.Name, func(t *testing.T) {
			w := newWorkbench(t, m)
			for _, plans := range [][2]string{
				{"tp=2 pp=2", "dp=4 zero=3"},
				{"tp=2 pp=2", one},
				{"dp=4 zero=3", "tp=2 pp=2"},
				{"cp=2 dp=2 zero=1", "sp=4 zero=2"},
				{one, mixed},
				{mixed, "dp=2 zero=1 ckpt=all micro=3"},
				{"tp=3 sequence_parallel=on", mixed},
			} {
				const batch = 24
				if err := w.checkResume(plans[0], plans[1], batch); err != nil {
					t.Errorf("%s, then %s: %v", plans[0], plans[1], err)
				}
			}
		})
	}
}
