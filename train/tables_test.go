package train

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
)

// vocabularyParallel shards the token embedding, which the head shares, and the
// head's bias along the vocabulary. With sequence, other parameters are Copied, so that the
// ranks hold parts of the sequence from the first look-up to the head.
type vocabularyParallel struct{ sequence bool }

func (v vocabularyParallel) Param(p *graph.Param) parallel.Holding {
	switch {
	case strings.Contains(p.Name, "wte."), strings.Contains(p.Name, "word_embeddings."), strings.Contains(p.Name, "predictions.bias"):
		return parallel.Hold(parallel.Shard(0))
	case v.sequence:
		return parallel.Hold(parallel.Copied)
	}
	return parallel.Hold(parallel.Replicate)
}

func (vocabularyParallel) Input(*graph.Input) parallel.Placement { return parallel.Replicate }

// TestShardsKnowTheirOffsets trains, dropout included, with tables that shard
// the vocabulary and the sequence, and finds what one device finds.
func TestShardsKnowTheirOffsets(t *testing.T) {
	tokens := tinyTokens(t)
	for _, model := range tinyModels() {
		switch m := model.(type) { // a vocabulary that divides
		case *models.GPTConfig:
			m.VocabSize = 30
		case *models.BERTConfig:
			m.VocabSize = 30
		}
		run := func(plan *parallel.Plan, table parallel.Table) outcome {
			spec, err := tinySpec(model, tokens, plan)
			if err != nil {
				t.Fatal(err)
			}
			o, err := trainBy(t, spec, table)
			if err != nil {
				t.Fatalf("%s, %v: %v", model.Type(), plan, err)
			}
			return o
		}
		want := run(parallel.Default(), nil)
		for _, c := range []struct {
			tp, dp, pp, micro int
			table             parallel.Table
		}{
			{2, 1, 1, 1, vocabularyParallel{}},
			{3, 2, 1, 2, vocabularyParallel{}},
			{2, 1, 3, 3, vocabularyParallel{}},
			{2, 2, 1, 1, vocabularyParallel{sequence: true}},
		} {
			plan := parallel.Default()
			plan.TP, plan.DP, plan.PP, plan.Micro = c.tp, c.dp, c.pp, c.micro
			got := run(plan, c.table)
			if off := math.Abs(got.val - want.val); !(off <= 1e-5*want.val) {
				t.Errorf("%s, %v: validation loss %.9g, on one device %.9g", model.Type(), plan, got.val, want.val)
			}
			for s := range tinySteps {
				if off := math.Abs(got.losses[s] - want.losses[s]); !(off <= 1e-5*want.losses[s]) {
					t.Errorf("%s, %v: loss of step %d %.9g, on one device %.9g", model.Type(), plan, s, got.losses[s], want.losses[s])
				}
				if off := math.Abs(got.norms[s] - want.norms[s]); !(off <= 1e-4*want.norms[s]) {
					t.Errorf("%s, %v: gradient norm of step %d %.9g, on one device %.9g", model.Type(), plan, s, got.norms[s], want.norms[s])
				}
			}
		}
	}
}

// trainBy trains all ranks of a plan with a table on the axis tp.
func trainBy(t *testing.T, spec *Spec, table parallel.Table) (outcome, error) {
	ranks := comm.Local(spec.Plan.Mesh().Size())
	outcomes, errs := make([]outcome, len(ranks)), make([]error, len(ranks))
	var all sync.WaitGroup
	for i, transport := range ranks {
		all.Go(func() {
			outcomes[i], errs[i] = trainRankBy(t, spec, i, transport, table)
			if err := transport.Close(); errs[i] == nil {
				errs[i] = err
			}
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			return outcome{}, fmt.Errorf("rank %d: %w", i, err)
		}
	}
	return outcomes[0], nil
}

func trainRankBy(t *testing.T, spec *Spec, number int, transport comm.Transport, table parallel.Table) (o outcome, err error) {
	backend, err := cpu.New(spec.Threads)
	if err != nil {
		return o, err
	}
	defer backend.Close()
	cfg, err := models.ParseConfig(spec.Model)
	if err != nil {
		return o, err
	}
	c := spec.Config
	model, err := models.Build(cfg, models.Options{Batch: c.Batch / spec.Plan.Micro, Seq: c.Seq, Dropout: c.Dropout, Train: true})
	if err != nil {
		return o, err
	}
	tables := map[string]parallel.Table{parallel.AxisDP: parallel.DataParallel{}}
	if table != nil {
		tables[parallel.AxisTP] = table
	}
	part, err := parallel.PartitionBy(model, spec.Plan, number, tables)
	if err != nil {
		return o, err
	}
	if err := part.Stage.Differentiate(); err != nil {
		return o, err
	}
	program, err := exec.Compile(part.Stage, backend, exec.Options{
		Slots: part.Slots, Train: true, Counted: func(s *graph.Shard) bool { return part.Counted[s] }, LossReplica: lossReplica(part),
	})
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
