package program_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/train/program"
)

const depth = 6 // blocks of the models

func gpt(tied bool) models.Config {
	return &models.GPTConfig{
		VocabSize: 64, NPositions: 64, NEmbd: 64, NLayer: depth, NHead: 8,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.1, TieWordEmbeddings: tied,
	}
}

func bert() models.Config {
	return &models.BERTConfig{
		VocabSize: 64, MaxPositionEmbeddings: 64, HiddenSize: 64, NumHiddenLayers: depth, NumAttentionHeads: 8,
		IntermediateSize: 128, TypeVocabSize: 2, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.1, TieWordEmbeddings: true,
	}
}

func optionsOf(m models.Config) program.Options { return program.Options{Model: m, Seq: 64} }

func newBackend(t testing.TB) *cpu.Backend {
	t.Helper()
	b, err := cpu.New(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// strategies use every feature there is.
var strategies = []string{
	"dp=1", "ckpt=all", "dp=2", "dp=4 zero=1", "dp=2 zero=2", "dp=2 zero=3", "dp=4 zero=3 ckpt=all", "tp=2", "tp=4 ckpt=all",
	"tp=4 sequence_parallel=on", "dp=2 tp=2 sequence_parallel=on zero=3", "sp=2", "dp=2 sp=2 zero=3 ckpt=all", "cp=2", "cp=4 ckpt=all", "dp=2 cp=2 zero=2",
	"tp=2 dp=2 order=tp,dp zero=1", "dp=2 cp=2 sp=2",
}

func strategy(t testing.TB, text string) parallel.Strategy {
	t.Helper()
	p, err := parallel.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p.Strategy
}

// TestTable compares what is extrapolated from two and three sequences a rank with
// what is compiled for more: they are equal.
func TestTable(t *testing.T) {
	b := newBackend(t)
	for name, m := range map[string]models.Config{"gpt": gpt(true), "untied": gpt(false), "bert": bert()} {
		for i, text := range strategies {
			if name != "gpt" && i%3 != 0 {
				continue
			}
			o := optionsOf(m)
			o.Dropout = []float64{0, 0.1}[i%2]
			o.Precision = []string{"fp32", "bf16"}[i/2%2]
			table, s := program.NewTable(o, b), strategy(t, text)
			for j, n := range []int{1, 3, 4, 8} {
				stages := 1 + 3*((i+j)%2)
				got, err := table.Works(s, stages, n*s.DP)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, text, err)
				}
				want, err := program.Works(o, s, stages, n*s.DP, b)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%s, %s, %d sequences, %d stages (-compiled +extrapolated):\n%s", name, text, n, stages, diff)
				}
				block, perBlock, err := table.Block(s, n*s.DP)
				if diff := cmp.Diff(want.Block, block); diff != "" || err != nil || perBlock != want.PerBlock {
					t.Fatalf("%s, %s, %d sequences: block alone, %v (-compiled +extrapolated):\n%s", name, text, n, err, diff)
				}
			}
		}
	}
}

// tally sums bytes by all that tells exchanges apart.
type tally map[string]int64

func (c tally) add(times int64, exchanges []cost.Exchange) {
	for _, e := range exchanges {
		bytes := e.Bytes
		e.Bytes = 0
		count := e.Count
		e.Count = 0
		c[fmt.Sprintf("%+v", e)] += times * bytes * int64(count)
	}
}

// TestWorksAddUp holds the works of three layers to the program of the whole
// model: parameters, states, activations, arithmetic and the bytes of exchanges
// are those of the embedding, six blocks and the head. What a worker takes is about
// what they say.
func TestWorksAddUp(t *testing.T) {
	b := newBackend(t)
	for name, m := range map[string]models.Config{"gpt": gpt(true), "untied": gpt(false), "bert": bert()} {
		for _, text := range strategies {
			plan, err := parallel.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			o := optionsOf(m)
			o.Batch = 2 * plan.DP
			w, err := program.Works(o, plan.Strategy, 1, o.Batch, b)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, text, err)
			}
			part, p, err := program.Compile(o, plan, 0, b)
			if err != nil {
				t.Fatal(err)
			}
			all := func(f func(cost.Work) int64) int64 { return f(w.Embedding) + depth*f(w.Block) + f(w.Head) }
			memory := p.Memory()
			for _, c := range []struct {
				what      string
				got, want int64
			}{
				{"bytes of states and activations", all(func(w cost.Work) int64 { return w.States + w.Activation }), memory[exec.Parameters] + memory[exec.Gradients] + memory[exec.OptimizerState] + memory[exec.Activations]},
				{"parameters", all(func(w cost.Work) int64 { return w.Params }), held(p)},
				{"FLOPs", all(flops), flopsOf(p)},
			} {
				if c.got != c.want {
					t.Errorf("%s, %s: %d %s, the program has %d", name, text, c.got, c.what, c.want)
				}
			}
			got, want := tally{}, tally{}
			got.add(1, w.Embedding.Exchanges)
			got.add(depth, w.Block.Exchanges)
			got.add(1, w.Head.Exchanges)
			for _, e := range program.Traffic(p, part) {
				ranks := part.Groups[e.Group]
				want.add(1, []cost.Exchange{{
					Exchange: cluster.Exchange{Kind: e.Kind, Bytes: e.Bytes, Group: cluster.Group{Ranks: len(ranks), Stride: ranks[1] - ranks[0]}},
					Pass:     e.Pass, Count: 1, Again: e.Again, Once: e.Once, Beside: e.Beside,
				}})
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s, %s: exchanges (-program +works):\n%s", name, text, cmp.Diff(want, got))
			}
			planned := program.PlannedOf(p, part).Total()
			estimate := w.Process + w.Messages + depth*w.PerBlock + all(func(w cost.Work) int64 { return w.States + w.Activation }) + max(w.Embedding.Peak, w.Block.Peak, w.Head.Peak)
			if off := float64(estimate)/float64(planned) - 1; math.Abs(off) > 0.1 { // buckets of such small models grow with the number of blocks
				t.Errorf("%s, %s: planned %d, works say %+.1f %%", name, text, planned, 100*off)
			}
		}
	}
}

func held(p *exec.Program) (n int64) {
	for _, l := range p.Layers() {
		n += l.Params
	}
	return n
}

func flopsOf(p *exec.Program) (n int64) {
	for _, l := range p.Layers() {
		for _, o := range l.Ops {
			n += o.FLOPs
		}
	}
	return n
}

func flops(w cost.Work) (n int64) {
	for _, o := range w.Ops {
		n += o.FLOPs
	}
	return n
}

// TestTiedTable shows that on several stages both ends of a pipeline hold a tied
// table and sum its gradient, and that nothing else differs from one stage.
func TestTiedTable(t *testing.T) {
	b := newBackend(t)
	s := strategy(t, "dp=2 tp=2")
	for _, tied := range []bool{true, false} {
		works := map[int]*program.LayerWorks{}
		for _, stages := range []int{1, 4} {
			var err error
			if works[stages], err = program.Works(optionsOf(gpt(tied)), s, stages, 4, b); err != nil {
				t.Fatal(err)
			}
		}
		one, four := works[1], works[4]
		if diff := cmp.Diff(one.Block, four.Block); diff != "" {
			t.Errorf("the block differs:\n%s", diff)
		}
		if want := int64(4 * 2 * 64 * 64); four.Border != want || one.Border != 0 {
			t.Errorf("%d bytes cross the border, want %d; %d of one stage", four.Border, want, one.Border)
		}
		table := int64(4 * 64 * 64 / 2) // split by tp
		var across int
		for _, w := range []cost.Work{four.Embedding, four.Head} {
			for _, e := range w.Exchanges {
				if e.Group == (cluster.Group{Ranks: 2, Stride: 3 * 4}) {
					across++
					if e.Kind != (graph.AllReduce{}).Kind() || !e.Once || e.Beside || e.Count != 1 || e.Bytes != table {
						t.Errorf("%+v: want the sum of a table of %d bytes", e, table)
					}
				}
			}
		}
		more := four.Embedding.Params + four.Head.Params - one.Embedding.Params - one.Head.Params
		if tied && (across != 2 || more != table/4) || !tied && (across != 0 || more != 0) {
			t.Errorf("tied %v: %d exchanges across the pipeline, %d parameters more", tied, across, more)
		}
	}
}

// TestWorksAtOnce takes works from several goroutines with one back end and one
// table.
func TestWorksAtOnce(t *testing.T) {
	b := newBackend(t)
	table := program.NewTable(optionsOf(gpt(true)), b)
	var all sync.WaitGroup
	for range 3 {
		for _, text := range strategies[:12] {
			s := strategy(t, text)
			all.Go(func() {
				got, err := table.Works(s, 2, 2*s.DP)
				if err != nil {
					t.Error(err)
					return
				}
				want, err := program.Works(optionsOf(gpt(true)), s, 2, 2*s.DP, b)
				if err != nil || !cmp.Equal(got, want) {
					t.Errorf("%s: %v, or not what it is alone", text, err)
				}
			})
		}
	}
	all.Wait()
}

// TestWorksErrors shows what cannot be told.
func TestWorksErrors(t *testing.T) {
	b := newBackend(t)
	o := optionsOf(gpt(true))
	for _, c := range []struct {
		o            program.Options
		plan         string
		stages, rows int
		want         string
	}{
		{program.Options{Seq: 64}, "dp=1", 1, 1, "no model"},
		{o, "dp=2", 1, 3, "do not divide"},
		{o, "dp=1", 0, 1, "need at least 1"},
		{o, "sp=3", 1, 1, "divide"},
		{program.Options{Model: gpt(true), Seq: 65}, "dp=1", 1, 1, "exceeds"},
	} {
		s := strategy(t, c.plan)
		_, err := program.NewTable(c.o, b).Works(s, c.stages, c.rows)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.plan, err, c.want)
		}
		if _, err := program.Works(c.o, s, c.stages, c.rows, b); err == nil {
			t.Errorf("%s: no error", c.plan)
		}
	}
}

// TestGroupsWithGaps takes ranks with others between for as many that reach as far.
func TestGroupsWithGaps(t *testing.T) {
	w, err := program.Works(optionsOf(gpt(true)), strategy(t, "dp=2 cp=2 tp=2 order=dp,tp,cp"), 1, 2, newBackend(t))
	if err != nil {
		t.Fatal(err)
	}
	want := cluster.Group{Ranks: 4, Stride: 2} // 0, 1, 4 and 5
	if !slices.ContainsFunc(w.Block.Exchanges, func(e cost.Exchange) bool { return e.Once && e.Group == want }) {
		t.Errorf("no sum over %+v: %+v", want, w.Block.Exchanges)
	}
}

// TestGathersBeside shows which exchanges need not be waited for.
func TestGathersBeside(t *testing.T) {
	b := newBackend(t)
	for _, c := range []struct {
		plan, kind string
		pass       graph.Pass
		again      bool
		beside     bool
	}{
		{"dp=2", "all_reduce", graph.Backward, false, true},
		{"tp=2", "all_reduce", graph.Forward, false, false},
		{"dp=2 zero=3", "all_gather", graph.Forward, false, true},
		{"dp=2 zero=3", "all_gather", graph.Backward, true, true},
		{"dp=2 zero=3", "reduce_scatter", graph.Backward, false, true},
		{"cp=2", "rotate", graph.Forward, false, true},
	} {
		w, err := program.Works(optionsOf(gpt(true)), strategy(t, c.plan), 1, 4, b)
		if err != nil {
			t.Fatal(err)
		}
		same := func(e cost.Exchange) bool { return e.Kind == c.kind && e.Pass == c.pass && e.Again == c.again }
		i := slices.IndexFunc(w.Block.Exchanges, same)
		if i < 0 || w.Block.Exchanges[i].Beside != c.beside {
			t.Errorf("%s: %s: %+v", c.plan, c.kind, w.Block.Exchanges)
		}
	}
}
