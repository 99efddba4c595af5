package planning_test

import (
	"math"
	"testing"

	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/parallel/search"
	"github.com/galvani-ml/galvani/train/planning"
	"github.com/galvani-ml/galvani/train/program"
)

// TestMemory holds what the search adds up against compiled plans.
func TestMemory(t *testing.T) {
	c, err := cluster.Preset(cluster.Presets()[0])
	if err != nil {
		t.Fatal(err)
	}
	p, err := planning.Open(planning.Request{
		Name: "gpt", Workers: 2, Batches: []int{8}, Cluster: c, Checkpoint: true,
		Program: program.Options{Seq: 128, Precision: "fp32", Model: &models.GPTConfig{
			VocabSize: 2048, NPositions: 128, NEmbd: 256, NLayer: 6, NHead: 8,
			ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: true,
		}},
		Paradigms: []search.Paradigm{search.DP, search.ZeRO1, search.ZeRO2, search.SDP, search.TP},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	plans := []string{
		"dp=2", "dp=2 ckpt=all micro=4", "dp=2 zero=1 micro=2", "dp=2 zero=2 ckpt=all", "dp=2 zero=3 micro=4", "tp=2", "tp=2 ckpt=all micro=2",
		"pp=2 micro=4", "pp=2 micro=2 schedule=gpipe", "pp=2 ckpt=all micro=4 schedule=gpipe", "layers=0:tp=2;1-3:dp=2,zero=3,ckpt=all;4-7:tp=2",
	}
	sum := 0.0
	for _, text := range plans {
		plan, err := parallel.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		e, err := planner.Evaluate(p.Options, plan, 8)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		compiled, err := p.Plan(t.Context(), plan, 8)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var got, want int64
		for i, s := range e.Stages {
			got, want = max(got, s.Memory), max(want, compiled[i].Total())
		}
		off := float64(got)/float64(want) - 1
		sum += math.Abs(off)
		if math.Abs(off) > 0.1 {
			t.Errorf("%s: the search adds up %d bytes, the compiled plan takes %d: %+.1f%%", text, got, want, 100*off)
		}
	}
	if mean := sum / float64(len(plans)); mean > 0.04 {
		t.Errorf("mean error %.1f%%, want 4%% at most", 100*mean)
	} else {
		t.Logf("mean error %.1f%%", 100*mean)
	}
}
