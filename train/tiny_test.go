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

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/data"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/program"
)

// This file is the whole system at its smallest: a model is built, cut by a
// plan, compiled, and trained for a few steps by ranks that live in this
// process and exchange tensors in memory.

const tinySteps = 5

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
	grads         map[string][]float32 // of the first step, of every parameter
	params        map[string][]float32 // after the last step
}

// same reports whether two ranks report the same.
func (o outcome) same(p outcome) bool {
	return o.losses == p.losses && o.norms == p.norms && o.val == p.val
}

// trainTiny runs all ranks of a plan.
func trainTiny(t testing.TB, spec *Spec) (outcome, error) {
	ranks := comm.Local(spec.Plan.Mesh().Size())
	outcomes, errs := make([]outcome, len(ranks)), make([]error, len(ranks))
	var collecting sync.Mutex
	grads, params := map[string][]float32{}, map[string][]float32{}
	collect := func(r *rank, step int) error {
		collecting.Lock()
		defer collecting.Unlock()
		switch step {
		case 0:
			return collectWhole(r, grads, func(p exec.Param) []float32 { return p.Grad })
		case tinySteps - 1:
			return collectWhole(r, params, func(p exec.Param) []float32 { return p.Value })
		}
		return nil
	}
	var all sync.WaitGroup
	for i, transport := range ranks {
		all.Go(func() {
			outcomes[i], errs[i] = trainRank(t, spec, i, transport, collect)
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
		if !outcomes[i].same(outcomes[0]) {
			return outcome{}, fmt.Errorf("ranks 0 and %d report different losses: %v and %v", i, outcomes[0], outcomes[i])
		}
	}
	outcomes[0].grads, outcomes[0].params = grads, params
	return outcomes[0], nil
}

// collectWhole puts a rank's parts of gradients or parameters into the whole ones.
func collectWhole(r *rank, whole map[string][]float32, pick func(exec.Param) []float32) error {
	for _, p := range r.machine.Params() {
		if !r.part.Counted[p.Shard] {
			continue
		}
		param := p.Shard.Param
		if whole[param.Name] == nil {
			whole[param.Name] = make([]float32, param.Size())
		}
		runs, err := models.Runs(param.Shape, p.Shard.Parts)
		if err != nil {
			return err
		}
		rest := pick(p)
		for from, n := range runs {
			rest = rest[copy(whole[param.Name][from:][:n], rest):]
		}
	}
	return nil
}

func trainRank(t testing.TB, spec *Spec, number int, transport comm.Transport, collect func(r *rank, step int) error) (o outcome, err error) {
	backend, err := cpu.New(spec.Threads)
	if err != nil {
		return o, err
	}
	defer backend.Close()
	part, compiled, err := compileRank(spec, number, backend)
	if err != nil {
		return o, err
	}
	w, err := program.NewComm(transport, part)
	if err != nil {
		return o, err
	}
	r, err := newRank(t.Context(), spec, number, part, compiled, w)
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
		if err := collect(r, step); err != nil {
			return o, err
		}
		if every := spec.Config.EvalEvery; every > 0 && (step+1)%every == 0 {
			if _, err := r.evaluate(t.Context(), step+1); err != nil {
				return o, err
			}
		}
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
// those of fp32, but not the same. What is stored in bf16 changes no bit.
func TestBF16(t *testing.T) {
	tokens := tinyTokens(t)
	spread := parallel.Default()
	spread.PP, spread.DP, spread.Micro = 3, 2, 3
	sharded, err := parallel.Parse("tp=2 dp=2 zero=3 ckpt=all sequence_parallel=on")
	if err != nil {
		t.Fatal(err)
	}
	for _, model := range tinyModels() {
		run := func(plan *parallel.Plan, precision string, disable ...exec.Pass) outcome {
			spec, err := tinySpec(model, tokens, plan)
			if err != nil {
				t.Fatal(err)
			}
			spec.Config.Precision, spec.Config.DisablePass = precision, disable
			o, err := trainTiny(t, spec)
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		want := run(parallel.Default(), "fp32")
		for _, plan := range []*parallel.Plan{parallel.Default(), spread, sharded} {
			got := run(plan, "bf16")
			if !got.same(run(plan, "bf16", exec.Narrow)) {
				t.Errorf("%s, %v: storing in bf16 changes results", model.Type(), plan)
			}
			if got.losses[tinySteps-1] >= got.losses[0] {
				t.Errorf("%s, %v: losses %v do not fall", model.Type(), plan, got.losses)
			}
			if got.same(want) {
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
