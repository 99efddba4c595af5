package train

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
)

// The flags of the test of plans. More are drawn with -rapid.checks.
var (
	onePlan  = flag.String("plan", "", "test this plan instead of drawing")
	oneModel = flag.String("plan-model", "", "test this model instead of all")
	oneBatch = flag.Int("plan-batch", 24, "sequences a step for -plan")
)

// planModel is a model that plans are drawn for: four blocks whose heads, inner
// width and sequence divide by 2, 3, 4, 6 and 8.
type planModel struct {
	name   string
	config models.Config
}

const (
	planSeq    = 24
	planBlocks = 4
)

func planModels() []planModel {
	gpt := func(vocab int, tied bool) models.Config {
		return &models.GPTConfig{
			VocabSize: vocab, NPositions: planSeq, NEmbd: 48, NLayer: planBlocks, NHead: 24,
			ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.1, TieWordEmbeddings: tied,
		}
	}
	return []planModel{
		{"gpt", gpt(48, true)},
		{"gpt-odd", gpt(29, true)},
		{"gpt-untied", gpt(48, false)},
		{"bert", &models.BERTConfig{
			VocabSize: 48, MaxPositionEmbeddings: planSeq, HiddenSize: 48, NumHiddenLayers: planBlocks, NumAttentionHeads: 24,
			IntermediateSize: 72, TypeVocabSize: 2, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.1, TieWordEmbeddings: true,
		}},
	}
}

// reference is what one device computes, by batch.
type reference struct {
	model  planModel
	tokens string
	byRows map[int]outcome
}

func (r *reference) train(t testing.TB, plan *parallel.Plan, batch int) (outcome, error) {
	spec, err := tinySpec(r.model.config, r.tokens, plan)
	if err != nil {
		return outcome{}, err
	}
	// AdamW turns what rounding leaves of a small gradient into whole steps, so
	// these are small.
	spec.Config.LR = 2e-3
	spec.Config.Batch, spec.Config.Seq, spec.Data.Batch, spec.Data.Seq = batch, planSeq, batch, planSeq
	return trainTiny(t, spec)
}

func (r *reference) want(t testing.TB, batch int) (outcome, error) {
	if want, ok := r.byRows[batch]; ok {
		return want, nil
	}
	want, err := r.train(t, parallel.Default(), batch)
	r.byRows[batch] = want
	return want, err
}

// check trains under a plan and compares losses, gradient norms, the gradient
// of every parameter and the validation loss with those of one device.
func (r *reference) check(t testing.TB, plan *parallel.Plan, batch int) error {
	want, err := r.want(t, batch)
	if err != nil {
		return err
	}
	got, err := r.train(t, plan, batch)
	if err != nil {
		return err
	}
	var off []string
	near := func(what string, got, want, tolerance float64) {
		if !(math.Abs(got-want) <= tolerance*math.Abs(want)) {
			off = append(off, fmt.Sprintf("%s %.9g, on one device %.9g", what, got, want))
		}
	}
	for s := range tinySteps {
		near(fmt.Sprintf("loss of step %d", s), got.losses[s], want.losses[s], 2e-5)
		near(fmt.Sprintf("gradient norm of step %d", s), got.norms[s], want.norms[s], 1e-4)
	}
	near("validation loss", got.val, want.val, 2e-5)
	for name, w := range want.grads {
		if distance, norm := apart(got.grads[name], w); !(distance <= 1e-4*norm+zeroGradient*want.norms[0]) {
			off = append(off, fmt.Sprintf("gradient of %s, of norm %.3g, is off by %.3g", name, norm, distance))
		}
	}
	if len(off) > 0 {
		slices.Sort(off)
		return fmt.Errorf("%s", strings.Join(off, "\n"))
	}
	return nil
}

// zeroGradient is the share of the norm of all gradients that a gradient may be
// off by which is zero but for rounding, as that of a bias of attention keys.
const zeroGradient = 1e-6

// apart is the norm of x-y, and that of y.
func apart(x, y []float32) (distance, norm float64) {
	if len(x) != len(y) {
		return math.Inf(1), 0
	}
	var d, n float64
	for i := range y {
		e := float64(x[i]) - float64(y[i])
		d += e * e
		n += float64(y[i]) * float64(y[i])
	}
	return math.Sqrt(d), math.Sqrt(n)
}

// TestEveryPlanTrainsAlike draws plans over 1 to 8 ranks, each layer with its
// own strategy, and finds the training of one device, dropout and masking
// included. A failing plan is shrunk and printed as a command.
func TestEveryPlanTrainsAlike(t *testing.T) {
	tokens := tinyTokens(t)
	for _, m := range planModels() {
		if *oneModel != "" && *oneModel != m.name {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			r := &reference{m, tokens, map[int]outcome{}}
			if *onePlan != "" {
				plan, err := parallel.Parse(*onePlan)
				if err == nil {
					err = r.check(t, plan, *oneBatch)
				}
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			rapid.Check(t, func(rt *rapid.T) {
				plan, batch := drawPlan(rt)
				if err := r.check(t, plan, batch); err != nil {
					rt.Fatalf("%v\nreproduce: go test ./train -run EveryPlanTrainsAlike -plan-model %s -plan-batch %d -plan '%v'", err, m.name, batch, plan)
				}
			})
		})
	}
}

// drawPlan draws a plan for a model of four blocks, and a batch it divides.
func drawPlan(t *rapid.T) (*parallel.Plan, int) {
	p := parallel.Default()
	ranks := rapid.SampledFrom([]int{1, 2, 3, 4, 6, 8}).Draw(t, "ranks")
	p.PP = rapid.SampledFrom(divisorsUpTo(ranks, planBlocks)).Draw(t, "pp")
	p.Micro = rapid.IntRange(1, 3).Draw(t, "micro")
	p.Schedule = rapid.SampledFrom(parallel.Schedules()).Draw(t, "schedule")
	if rapid.Bool().Draw(t, "uneven") {
		rest := planBlocks - p.PP
		for range p.PP - 1 {
			more := rapid.IntRange(0, rest).Draw(t, "more blocks")
			rest -= more
			p.Stages = append(p.Stages, 1+more)
		}
		p.Stages = append(p.Stages, 1+rest)
	}
	axes := drawFactors(t, ranks/p.PP)
	p.Strategy = drawStrategy(t, axes)
	if rapid.Bool().Draw(t, "mixed") {
		for range planBlocks + 2 {
			p.Layers = append(p.Layers, drawStrategy(t, axes))
		}
		p.Strategy = parallel.Strategy{DP: 1, TP: 1}
	}
	return p, p.BatchWays() * p.Micro * rapid.IntRange(1, 2).Draw(t, "rows")
}

func divisorsUpTo(n, most int) []int {
	var ds []int
	for d := 1; d <= min(n, most); d++ {
		if n%d == 0 {
			ds = append(ds, d)
		}
	}
	return ds
}

// drawFactors draws an ordered factorisation into primes: the finest mesh.
func drawFactors(t *rapid.T, n int) []int {
	var primes []int
	for p := 2; n > 1; p++ {
		for n%p == 0 {
			primes = append(primes, p)
			n /= p
		}
	}
	return rapid.Permutation(primes).Draw(t, "axes")
}

// drawStrategy gives each axis a role, neighbouring axes the same one where
// they have the same.
func drawStrategy(t *rapid.T, axes []int) parallel.Strategy {
	roles := rapid.Permutation(parallel.Roles()).Draw(t, "order")
	degree := map[parallel.Role]int{}
	at := 0
	for _, size := range axes {
		at = rapid.IntRange(at, len(roles)-1).Draw(t, "role")
		degree[roles[at]] = max(1, degree[roles[at]]) * size
	}
	s := parallel.Strategy{
		DP: max(1, degree[parallel.RoleDP]), TP: max(1, degree[parallel.RoleTP]), SP: degree[parallel.RoleSP], CP: degree[parallel.RoleCP],
		ZeRO:             rapid.IntRange(0, 3).Draw(t, "zero"),
		Checkpoint:       rapid.Bool().Draw(t, "ckpt"),
		SequenceParallel: rapid.Bool().Draw(t, "sequence parallel"),
	}
	if s.Ranks() > 1 {
		var names []string
		for _, r := range roles {
			names = append(names, string(r))
		}
		s.Order = parallel.Order(strings.Join(names, ","))
	}
	return s
}
