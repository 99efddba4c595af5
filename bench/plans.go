package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/galvani-ml/galvani/exec"
	training "github.com/galvani-ml/galvani/train"
)

// PlansDefault stands for one plan of each kind of parallelism over two workers,
// for checkpointing, and for a plan that mixes several.
const PlansDefault = "default"

// onePlan is that of one worker, beside which all others are measured.
const onePlan = "dp=1"

// defaultPlans are the plans of PlansDefault for a model of so many blocks.
func defaultPlans(blocks int) []string {
	half := max(1, blocks/2)
	mixed := fmt.Sprintf("layers=0:dp=2;1-%d:tp=2;%d-%d:dp=2,zero=3,ckpt=all", half, half+1, blocks+1)
	return []string{
		onePlan, "dp=2", "pp=2 micro=4", "tp=2", "tp=2 sequence_parallel=on", "sp=2", "cp=2",
		"dp=2 zero=1", "dp=2 zero=2", "dp=2 zero=3", "ckpt=all", mixed,
	}
}

// layersRest is how a part of a plan's text begins that belongs to the layers
// before it, as in layers=0:dp=2;1-4:tp=2.
var layersRest = regexp.MustCompile(`^\s*\d+(-\d+)?\s*:`)

// splitPlans divides texts of plans with semicolons between them. Those between
// the layers of one plan do not divide it.
func splitPlans(texts []string) []string {
	var plans []string
	for _, text := range texts {
		first := len(plans)
		for part := range strings.SplitSeq(text, ";") {
			if len(plans) > first && layersRest.MatchString(part) {
				plans[len(plans)-1] += ";" + part
			} else if part = strings.TrimSpace(part); part != "" {
				plans = append(plans, part)
			}
		}
	}
	return plans
}

// plansOf are the plans of a workload, that of one worker first.
func plansOf(texts []string, w workload) []string {
	plans := []string{onePlan}
	for _, p := range splitPlans(texts) {
		if p == PlansDefault {
			plans = append(plans, defaultPlans(w.Layers)...)
		} else {
			plans = append(plans, p)
		}
	}
	return plans
}

// trainPlans measures every plan on every workload, which are steps with an
// update.
func trainPlans(ctx context.Context, o TrainOptions, stdout io.Writer, workloads ...workload) error {
	if len(o.Peers)+len(o.Commands) > 0 || o.Profile {
		return fmt.Errorf("bench: plans are measured beside one worker of our own: leave out peers and the profile")
	}
	var results []PlanResult
	for _, w := range workloads {
		if !w.Update {
			continue
		}
		rs, err := measurePlans(ctx, o, w)
		if err != nil {
			return err
		}
		results = append(results, rs...)
		if o.JSON {
			lines := json.NewEncoder(stdout)
			for _, r := range rs {
				if err := lines.Encode(r); err != nil {
					return err
				}
			}
		} else if err := writePlans(stdout, rs); err != nil {
			return err
		}
	}
	return writeChart(o.SVG, plansChart(results, machineName(o.Threads)))
}

// planned is a plan and what its trials reported.
type planned struct {
	text   string
	trial  *training.Trial
	rounds [][]training.Metrics // the steps that count
}

// measurePlans trains under each plan in turns. All are checked first.
func measurePlans(ctx context.Context, o TrainOptions, w workload) ([]PlanResult, error) {
	dir, err := os.MkdirTemp("", "galvani-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(dir)
	tokens := filepath.Join(dir, "tokens.bin")
	if err := os.WriteFile(tokens, w.tokenFile(), 0o666); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	var plans []*planned
	defer func() {
		for _, p := range plans {
			p.trial.Close()
		}
	}()
	seen := map[string]bool{}
	for _, text := range plansOf(o.Plans, w) {
		t, err := training.NewTrial(ctx, w.config(), w.trial(tokens, text, warmup+o.Steps), o.Threads)
		if err != nil {
			return nil, fmt.Errorf("bench: %s: plan %s: %w", w.Label, text, err)
		}
		if seen[t.Plan().String()] {
			t.Close()
			continue
		}
		seen[t.Plan().String()] = true
		plans = append(plans, &planned{text: text, trial: t})
	}
	if err := playPlans(ctx, o, plans); err != nil {
		return nil, err
	}
	var results []PlanResult
	for _, p := range plans {
		results = append(results, p.result(o, w, plans[0]))
	}
	return results, nil
}

// playPlans runs all rounds; the first plan is that of one worker. Who goes first
// changes from round to round.
func playPlans(ctx context.Context, o TrainOptions, plans []*planned) error {
	turns := slices.Clone(plans)
	var want []training.Metrics // of one worker
	for range o.Rounds {
		for _, p := range turns {
			steps, err := p.trial.Run(ctx)
			if err != nil {
				return fmt.Errorf("bench: plan %s: %w", p.text, err)
			}
			if want == nil {
				want = steps
			}
			if err := checkSteps(p.text, o, steps, want); err != nil {
				return err
			}
			p.rounds = append(p.rounds, steps[warmup:])
		}
		slices.Reverse(turns)
	}
	return nil
}

// planTolerance is by how much a plan's losses may differ from those of one
// worker, relatively: only the order of sums is another. In bf16, that also turns
// how values are rounded.
func planTolerance(o TrainOptions) float64 {
	if exec.Precision(o.Precision) == exec.BF16 {
		return tolerance
	}
	return 2e-5
}

// checkSteps wants all steps of a run, with the losses of one worker.
func checkSteps(plan string, o TrainOptions, got, want []training.Metrics) error {
	if len(got) != warmup+o.Steps {
		return fmt.Errorf("bench: plan %s: %d steps were reported of %d", plan, len(got), warmup+o.Steps)
	}
	for i, m := range got {
		if w := want[i].Loss; !(math.Abs(m.Loss-w) <= planTolerance(o)*math.Abs(w)) {
			return fmt.Errorf("bench: plan %s: in step %d the loss is %.7g and that of one worker is %.7g: they do not compute the same, so nothing can be compared", plan, m.Step, m.Loss, w)
		}
	}
	return nil
}

// tokenFile is the content of a token file that holds one batch.
func (w workload) tokenFile() []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	var b []byte
	for range w.Tokens() + 1 { // the last is a target alone
		b = binary.LittleEndian.AppendUint16(b, uint16(r.IntN(w.Vocab)))
	}
	return b
}

// trial is the run that trains on the batch of a token file again and again.
func (w workload) trial(tokens, plan string, steps int) training.Config {
	precision := w.Precision
	if precision == "" {
		precision = "fp32"
	}
	return training.Config{
		Data: tokens, DataOrder: "sequential", Seq: w.Seq, Batch: w.Batch, Steps: steps, Vocab: max(300, w.Vocab),
		LR: learningRate, LRSchedule: "constant", Betas: training.Betas{beta1, beta2}, Eps: epsilon, Dropout: w.Dropout, Seed: seed,
		Plan: plan, Precision: precision, DisablePass: w.DisablePass, EnablePass: w.EnablePass, Device: "auto", Collectives: "auto",
	}
}
