package train

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/data"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
)

// This file is the whole system at its smallest: a model is built, cut by a
// plan, compiled, and trained for a few steps by ranks that live in this
// process and exchange tensors in memory.

const tinySteps = 4

// tinySpec is a run of a model of three blocks on the tokens in a file.
func tinySpec(model models.Config, tokens string, plan *parallel.Plan) (*Spec, error) {
	text, err := json.Marshal(model)
	if err != nil {
		return nil, err
	}
	c := Config{
		Batch: 12, Seq: 8, Steps: tinySteps, LR: 1e-2, LRSchedule: "constant", Betas: Betas{0.9, 0.95}, Eps: 1e-8,
		WeightDecay: 0.1, Clip: 1, Dropout: 0.2, Seed: 3, Workers: plan.Mesh().Size(),
	}
	o := data.Options{Source: tokens, Order: data.Random, Seed: c.Seed, Batch: c.Batch, Seq: c.Seq, VocabSize: model.Vocab(), Objective: data.Causal}
	if masked(model) {
		o.Objective, o.MaskID = data.Masked, 1
	}
	return &Spec{Config: c, Model: text, Plan: plan, Data: o, Threads: 1}, nil
}

func tinyModels() []models.Config {
	return []models.Config{
		&models.GPTConfig{
			VocabSize: 29, NPositions: 8, NEmbd: 12, NLayer: 3, NHead: 2,
			ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.2, TieWordEmbeddings: true,
		},
		&models.BERTConfig{
			VocabSize: 29, MaxPositionEmbeddings: 8, HiddenSize: 12, NumHiddenLayers: 3, NumAttentionHeads: 2, IntermediateSize: 20,
			TypeVocabSize: 2, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.2, TieWordEmbeddings: true,
		},
	}
}

// outcome is what training gives: loss and gradient norm of each step, and the
// validation loss after the last.
type outcome struct {
	losses, norms [tinySteps]float64
	val           float64
}

// trainTiny runs all ranks of a plan.
func trainTiny(t testing.TB, spec *Spec) (outcome, error) {
	ranks := comm.Local(spec.Plan.Mesh().Size())
	outcomes, errs := make([]outcome, len(ranks)), make([]error, len(ranks))
	var all sync.WaitGroup
	for i, transport := range ranks {
		all.Go(func() {
			outcomes[i], errs[i] = trainRank(t, spec, i, transport)
			if err := transport.Close(); errs[i] == nil {
				errs[i] = err
			}
		})
	}
	all.Wait()
	for i := range ranks {
		if errs[i] != nil {
			return outcome{}, fmt.Errorf("rank %d: %w", i, errs[i])
		}
		if outcomes[i] != outcomes[0] {
			return outcome{}, fmt.Errorf("ranks 0 and %d report different losses: %v and %v", i, outcomes[0], outcomes[i])
		}
	}
	return outcomes[0], nil
}

func trainRank(t testing.TB, spec *Spec, number int, transport comm.Transport) (o outcome, err error) {
	backend, err := cpu.New(spec.Threads)
	if err != nil {
		return o, err
	}
	defer backend.Close()
	part, program, err := compileRank(spec, number, backend)
	if err != nil {
		return o, err
	}
	w, err := newWorld(transport, part)
	if err != nil {
		return o, err
	}
	r, err := newRank(t.Context(), spec, number, part, program, w)
	if err != nil {
		return o, err
	}
	defer r.close()
	for step := range tinySteps {
		stats, err := r.step(t.Context(), step)
		if err != nil {
			return o, err
		}
		o.losses[step], o.norms[step] = stats.Loss, stats.GradNorm
	}
	o.val, err = r.evaluate(t.Context(), tinySteps)
	return o, err
}

// tinyTokens writes a file of tokens: a pattern to learn, with some noise.
func tinyTokens(t *testing.T) string {
	tokens := filepath.Join(t.TempDir(), "tokens.bin")
	var file []byte
	draw := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		token := 2 + i%9
		if draw.IntN(10) == 0 {
			token = 2 + draw.IntN(27)
		}
		file = binary.LittleEndian.AppendUint16(file, uint16(token))
	}
	if err := os.WriteFile(tokens, file, 0o666); err != nil {
		t.Fatal(err)
	}
	return tokens
}

// TestBF16 trains in bf16 on one device and on more, and finds losses close to
// those of fp32, but not the same.
func TestBF16(t *testing.T) {
	tokens := tinyTokens(t)
	spread := parallel.Default()
	spread.PP, spread.DP, spread.Micro = 3, 2, 3
	for _, model := range tinyModels() {
		run := func(plan *parallel.Plan, precision string) outcome {
			spec, err := tinySpec(model, tokens, plan)
			if err != nil {
				t.Fatal(err)
			}
			spec.Config.Precision = precision
			o, err := trainTiny(t, spec)
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		want := run(parallel.Default(), "fp32")
		for _, plan := range []*parallel.Plan{parallel.Default(), spread} {
			got := run(plan, "bf16")
			if got.losses[tinySteps-1] >= got.losses[0] {
				t.Errorf("%s, %v: losses %v do not fall", model.Type(), plan, got.losses)
			}
			if got == want {
				t.Errorf("%s, %v: bf16 changes nothing", model.Type(), plan)
			}
			for s := range tinySteps {
				if off := got.losses[s] - want.losses[s]; !(math.Abs(off) < 0.03) {
					t.Errorf("%s, %v: step %d has loss %g in bf16, %g in fp32", model.Type(), plan, s, got.losses[s], want.losses[s])
				}
			}
		}
	}
}

// TestEveryPlanTrainsAlike draws plans and finds the losses, gradient norms and
// validation loss of one device, dropout and masking included.
func TestEveryPlanTrainsAlike(t *testing.T) {
	tokens := tinyTokens(t)
	for _, model := range tinyModels() {
		t.Run(model.Type(), func(t *testing.T) {
			run := func(plan *parallel.Plan) (outcome, error) {
				spec, err := tinySpec(model, tokens, plan)
				if err != nil {
					return outcome{}, err
				}
				return trainTiny(t, spec)
			}
			want, err := run(parallel.Default())
			if err != nil {
				t.Fatal(err)
			}
			if want.losses[tinySteps-1] >= want.losses[0] {
				t.Fatalf("losses %v do not fall", want.losses)
			}
			rapid.Check(t, func(rt *rapid.T) {
				plan := drawPlan(rt)
				got, err := run(plan)
				if err != nil {
					rt.Fatalf("%v: %v", plan, err)
				}
				near := func(what string, got, want, tolerance float64) {
					if !(math.Abs(got-want) <= tolerance*math.Abs(want)) {
						rt.Errorf("%v: %s %.9g, on one device %.9g", plan, what, got, want)
					}
				}
				for s := range tinySteps {
					near(fmt.Sprintf("loss of step %d", s), got.losses[s], want.losses[s], 1e-5)
					near(fmt.Sprintf("gradient norm of step %d", s), got.norms[s], want.norms[s], 1e-4)
				}
				near("validation loss", got.val, want.val, 1e-5)
			})
		})
	}
}

// drawPlan draws a plan for a batch of 12 and three blocks.
func drawPlan(t *rapid.T) *parallel.Plan {
	p := parallel.Default()
	p.PP = rapid.IntRange(1, 3).Draw(t, "pp")
	p.DP = rapid.SampledFrom([]int{1, 2, 3}).Draw(t, "dp")
	var micros []int
	for m := 1; m <= 12/p.DP; m++ {
		if 12%(p.DP*m) == 0 {
			micros = append(micros, m)
		}
	}
	p.Micro = rapid.SampledFrom(micros).Draw(t, "micro")
	p.Schedule = rapid.SampledFrom(parallel.Schedules()).Draw(t, "schedule")
	if p.PP == 2 {
		first := rapid.IntRange(1, 2).Draw(t, "first stage")
		p.Stages = []int{first, 3 - first}
	}
	return p
}
