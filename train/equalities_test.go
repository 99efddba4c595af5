package train

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
)

// The tests of this file hold the list of docs/equalities.md: plans under which
// training is equal bit for bit. Dropout, masking and clipping are on.

// equalModel returns a model to train.
func equalModel(name string) models.Config {
	switch name {
	case "bert":
		return tinyModels()[1]
	case "untied gpt":
		untied := *tinyModels()[0].(*models.GPTConfig)
		untied.TieWordEmbeddings = false
		return &untied
	case "wide gpt": // untied, and its gradients go around rings
		return shape{T: 8, C: 96, V: 48, L: 2}.model()
	}
	return tinyModels()[0]
}

// Names of models: all but the wide one, and those whose embedding is the head's
// too.
var (
	equalModels = []string{"gpt", "untied gpt", "bert"}
	tied        = []string{"gpt", "bert"}
)

// change changes a run in what its plan does not say.
type change func(*Spec)

// trainAs trains a model under a plan.
func trainAs(t *testing.T, model models.Config, tokens, text string, changes ...change) outcome {
	t.Helper()
	plan, err := parallel.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := tinySpec(model, tokens, plan)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		c(spec)
	}
	o, err := trainTiny(t, spec)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

// differences lists what differs in bits between two trainings.
func (o outcome) differences(p outcome) []string {
	var off []string
	for s := range tinySteps {
		if o.losses[s] != p.losses[s] {
			off = append(off, fmt.Sprintf("loss of step %d: %v, %v", s, o.losses[s], p.losses[s]))
		}
		if o.norms[s] != p.norms[s] {
			off = append(off, fmt.Sprintf("gradient norm of step %d: %v, %v", s, o.norms[s], p.norms[s]))
		}
	}
	if o.val != p.val {
		off = append(off, fmt.Sprintf("validation loss: %v, %v", o.val, p.val))
	}
	for _, name := range slices.Sorted(maps.Keys(o.params)) {
		if !sameBits(o.grads[name], p.grads[name]) {
			off = append(off, "gradient of "+name)
		}
		if !sameBits(o.params[name], p.params[name]) {
			off = append(off, name)
		}
	}
	return off
}

func sameBits(x, y []float32) bool {
	return slices.EqualFunc(x, y, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) })
}

// group is plans that train alike bit for bit.
type group []string

// checkBits trains models under each plan of each group and compares with the
// group's first: losses, gradients and their norms, the validation loss, and
// parameters after the last step.
func checkBits(t *testing.T, names []string, groups []group) {
	t.Helper()
	tokens := tinyTokens(t)
	for _, name := range names {
		model := equalModel(name)
		for _, g := range groups {
			want := trainAs(t, model, tokens, g[0])
			for _, text := range g[1:] {
				if off := trainAs(t, model, tokens, text).differences(want); len(off) > 0 {
					t.Errorf("%s: %s differs from %s: %d times, first %s", name, text, g[0], len(off), off[0])
				}
			}
		}
	}
}

// TestCheckpointingKeepsBits computes activations again, of all layers or of
// one, beside every other strategy.
func TestCheckpointingKeepsBits(t *testing.T) {
	var groups []group
	for _, text := range []string{"dp=1", "micro=3", "tp=2", "tp=2 sequence_parallel=on", "sp=2", "cp=4", "pp=3 micro=2", "dp=2 zero=1", "dp=2 zero=2 micro=2", "dp=2 zero=3 micro=2"} {
		groups = append(groups, group{text, text + " ckpt=all"})
	}
	groups = append(groups, group{"dp=2 zero=3 micro=2", "micro=2 layers=0-1:dp=2,zero=3;2:dp=2,zero=3,ckpt=all;3-4:dp=2,zero=3"})
	checkBits(t, equalModels, groups)
}

// TestSchedulesKeepBits runs GPipe and 1F1B.
func TestSchedulesKeepBits(t *testing.T) {
	checkBits(t, equalModels, []group{
		{"pp=2 micro=4 schedule=gpipe", "pp=2 micro=4 schedule=1f1b"},
		{"pp=3 micro=3 dp=2 schedule=gpipe", "pp=3 micro=3 dp=2 schedule=1f1b"},
		{"pp=3 micro=2 tp=2 zero=3 ckpt=all schedule=gpipe", "pp=3 micro=2 tp=2 zero=3 ckpt=all schedule=1f1b"},
	})
}

// TestStagesKeepBits cuts the layers into stages. Where the embedding is the
// head's, one stage adds up its two gradients in another order than two do.
func TestStagesKeepBits(t *testing.T) {
	checkBits(t, []string{"untied gpt"}, []group{
		{"micro=1", "pp=2", "pp=3", "pp=2 stages=1,2", "pp=2 stages=2,1"},
		{"micro=3", "pp=2 micro=3", "pp=3 micro=3"},
		{"dp=3 micro=2", "dp=3 micro=2 pp=2", "dp=3 micro=2 pp=3"},
		{"tp=2", "tp=2 pp=2"},
		{"tp=2 sequence_parallel=on micro=2", "tp=2 sequence_parallel=on micro=2 pp=3"},
		{"sp=2", "sp=2 pp=3"},
		{"cp=4", "cp=4 pp=2"},
		{"dp=2 zero=3 micro=2", "dp=2 zero=3 micro=2 pp=2"},
	})
	checkBits(t, tied, []group{
		{"pp=2", "pp=3", "pp=2 stages=1,2", "pp=2 stages=2,1"},
		{"dp=3 micro=2 pp=2", "dp=3 micro=2 pp=3"},
		{"tp=2 pp=2", "tp=2 pp=3"},
	})
}

// TestZeROKeepsBits shards the optimizer's state, gradients and parameters. With
// several micro-batches, ZeRO-2 and ZeRO-3 add up over ranks before they do over
// micro-batches; and they add up the gradients of a tied embedding apart.
func TestZeROKeepsBits(t *testing.T) {
	checkBits(t, equalModels, []group{
		{"dp=2 micro=2 zero=0", "dp=2 micro=2 zero=1"},
		{"dp=3 micro=2 zero=0", "dp=3 micro=2 zero=1"},
		{"dp=4 zero=0", "dp=4 zero=1"},
		{"sp=2 micro=2", "sp=2 micro=2 zero=1"},
	})
	checkBits(t, []string{"wide gpt"}, []group{
		{"dp=3 zero=0", "dp=3 zero=1", "dp=3 zero=2", "dp=3 zero=3"},
	})
	checkBits(t, []string{"untied gpt"}, []group{
		{"dp=2 zero=0", "dp=2 zero=1", "dp=2 zero=2", "dp=2 zero=3"},
		{"dp=4 zero=0", "dp=4 zero=1", "dp=4 zero=2", "dp=4 zero=3"},
		{"dp=3 micro=2 zero=2", "dp=3 micro=2 zero=3"},
		{"sp=2 zero=0", "sp=2 zero=1", "sp=2 zero=2", "sp=2 zero=3"},
		{"cp=4 zero=0", "cp=4 zero=1", "cp=4 zero=2", "cp=4 zero=3"},
		{"dp=2 tp=2 sequence_parallel=on zero=1", "dp=2 tp=2 sequence_parallel=on zero=2", "dp=2 tp=2 sequence_parallel=on zero=3"},
		{"dp=2 sp=2 zero=1", "dp=2 sp=2 zero=2", "dp=2 sp=2 zero=3"},
	})
}

// TestPlacementKeepsBits puts the ranks of an axis beside each other, or apart.
func TestPlacementKeepsBits(t *testing.T) {
	checkBits(t, equalModels, []group{
		{"dp=2 tp=2 order=dp,tp", "dp=2 tp=2 order=tp,dp"},
		{"dp=3 tp=2 order=dp,tp sequence_parallel=on", "dp=3 tp=2 order=tp,dp sequence_parallel=on"},
		{"dp=3 sp=2 order=dp,sp", "dp=3 sp=2 order=sp,dp"},
		{"dp=2 cp=2 micro=3 order=dp,cp", "dp=2 cp=2 micro=3 order=cp,dp"},
		{"dp=2 tp=2 zero=3 order=dp,tp", "dp=2 tp=2 zero=3 order=tp,dp"},
	})
}

// TestPassesKeepBits leaves out each pass of the compiler, the overlap of
// exchanges with the computation among them, and does all.
func TestPassesKeepBits(t *testing.T) {
	tokens := tinyTokens(t)
	for _, name := range equalModels {
		model := equalModel(name)
		for _, text := range []string{"pp=2 dp=2 micro=2", "dp=2 zero=3 micro=2 ckpt=all", "tp=2 sequence_parallel=on"} {
			want := trainAs(t, model, tokens, text)
			for _, p := range exec.Passes() {
				switched := func(s *Spec) {
					if p == exec.Recompute {
						s.Config.EnablePass = []exec.Pass{p}
					} else {
						s.Config.DisablePass = []exec.Pass{p}
					}
				}
				if off := trainAs(t, model, tokens, text, switched).differences(want); len(off) > 0 {
					t.Errorf("%s: %s without %s, or with recompute, differs %d times, first %s", name, text, p, len(off), off[0])
				}
			}
		}
	}
}

// TestThreadsKeepBits trains on workers of one thread and of three.
func TestThreadsKeepBits(t *testing.T) {
	tokens := tinyTokens(t)
	for _, name := range equalModels {
		model := equalModel(name)
		for _, text := range []string{"micro=2", "tp=2", "pp=2 cp=2"} {
			want := trainAs(t, model, tokens, text)
			if off := trainAs(t, model, tokens, text, func(s *Spec) { s.Threads = 3 }).differences(want); len(off) > 0 {
				t.Errorf("%s: %s on three threads differs %d times, first %s", name, text, len(off), off[0])
			}
		}
	}
}

// TestEvaluationKeepsBits evaluates after every step, or only after the last.
func TestEvaluationKeepsBits(t *testing.T) {
	tokens := tinyTokens(t)
	for _, name := range equalModels {
		model := equalModel(name)
		for _, text := range []string{"micro=2", "dp=2 zero=1", "pp=3 micro=2", "tp=2 sequence_parallel=on zero=3 ckpt=all"} {
			want := trainAs(t, model, tokens, text)
			if off := trainAs(t, model, tokens, text, func(s *Spec) { s.Config.EvalEvery = 1 }).differences(want); len(off) > 0 {
				t.Errorf("%s: %s with evaluation differs %d times, first %s", name, text, len(off), off[0])
			}
		}
	}
}
