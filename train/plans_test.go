package train

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/galvani-ml/galvani/internal/plantest"
	"github.com/galvani-ml/galvani/parallel"
)

// The flags of the test of plans. More are drawn with -rapid.checks.
var (
	onePlan  = flag.String("plan", "", "test this plan instead of drawing")
	oneModel = flag.String("plan-model", "", "test this model instead of all")
	oneBatch = flag.Int("plan-batch", 24, "sequences a step for -plan")
)

// reference is what one device computes of sequences of a length, by batch.
type reference struct {
	model  plantest.Model
	tokens string
	seq    int
	byRows map[int]outcome
}

func (r *reference) train(t testing.TB, plan *parallel.Plan, batch int) (outcome, error) {
	spec, err := tinySpec(r.model.Config, r.tokens, plan)
	if err != nil {
		return outcome{}, err
	}
	// AdamW turns what rounding leaves of a small gradient into whole steps, so
	// these are small.
	spec.Config.LR = 2e-3
	spec.Config.Batch, spec.Config.Seq, spec.Data.Batch, spec.Data.Seq = batch, r.seq, batch, r.seq
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
// included. It draws as many for each model as -rapid.checks says, by default
// 100. A failing plan is shrunk, for as long as -rapid.shrinktime says, and
// printed as a command.
func TestEveryPlanTrainsAlike(t *testing.T) {
	tokens := tinyTokens(t)
	for _, m := range plantest.Models() {
		if *oneModel != "" && *oneModel != m.Name {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			r := &reference{m, tokens, plantest.Seq, map[int]outcome{}}
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
			progress := newPlanProgress(t)
			rapid.Check(t, func(rt *rapid.T) {
				plan, batch := plantest.Draw(rt)
				if err := r.check(t, plan, batch); err != nil {
					command := fmt.Sprintf("-run EveryPlan -plan-model %s -plan-batch %d -plan '%v'", m.Name, batch, plan)
					rt.Fatalf("%v\nreproduce: go test ./train %s\nin worker processes: go test ./cmd/galvani -v %s", err, command, command)
				}
				progress.checked(plan)
			})
		})
	}
}

// planProgress logs how many plans have trained alike, by number of ranks.
type planProgress struct {
	t       *testing.T
	total   int
	byRanks map[int]int
}

func newPlanProgress(t *testing.T) *planProgress { return &planProgress{t, 0, map[int]int{}} }

func (p *planProgress) checked(plan *parallel.Plan) {
	p.total++
	p.byRanks[plan.Mesh().Size()]++
	if p.total%100 == 0 {
		p.t.Logf("%d plans train alike; by number of ranks %v", p.total, p.byRanks)
	}
}

// TestNothingDivides trains sequences of 23 tokens, so that neither the
// vocabulary, nor the inner width, nor the sequence divides by the ranks that
// would split them: they compute the same.
func TestNothingDivides(t *testing.T) {
	tokens := tinyTokens(t)
	for _, m := range plantest.Models() {
		if !strings.Contains(m.Name, "odd") {
			continue
		}
		r := &reference{m, tokens, 23, map[int]outcome{}}
		for _, text := range []string{"tp=4", "dp=2 tp=3 zero=3 ckpt=all", "pp=2 tp=4 micro=2", "layers=0:tp=3;1:dp=3;2:tp=3,ckpt=all;3-4:dp=3,zero=2;5:tp=3"} {
			plan, err := parallel.Parse(text)
			if err == nil {
				err = r.check(t, plan, 12)
			}
			if err != nil {
				t.Errorf("%s, %s: %v", m.Name, text, err)
			}
		}
	}
}
