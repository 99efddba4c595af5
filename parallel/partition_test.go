package parallel

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/graph"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	// Each draw runs a whole mesh; -rapid.checks asks for more.
	if err := flag.Set("rapid.checks", "40"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func plan(t testing.TB, text string) *Plan {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var onlyDP = map[string]Table{AxisDP: DataParallel{}}

func TestPartitionComputesTheWhole(t *testing.T) {
	small, dropped, skip := gpt(3, 4, toySeq), gpt(2, 4, toySeq), gpt(3, 4, toySeq)
	dropped.dropout = 0.3
	skip.skip = true
	bert := toy{blocks: 3, batch: 4, seq: toySeq, bert: true, dropout: 0.2}
	for _, c := range []struct {
		name, plan string
		toy        toy
	}{
		{"one worker", "pp=1", small},
		{"accumulation", "micro=4", small},
		{"data parallel", "dp=2", small},
		{"data parallel with accumulation", "dp=2 micro=2", dropped},
		{"pipeline", "pp=2 micro=4", small},
		{"uneven pipeline", "pp=2 stages=1,2 micro=2", small},
		{"pipeline of three", "pp=3 micro=4 schedule=gpipe", small},
		{"pipeline and data parallel", "pp=2 dp=2 micro=2", dropped},
		{"bert pipeline and data parallel", "pp=3 dp=2 micro=2", bert},
		{"several tensors cross, also past a stage", "pp=3 micro=2", skip},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkPlan(t, t, c.toy, plan(t, c.plan), onlyDP)
		})
	}
}

// TestAnyPlanComputesTheWhole draws plans for 1 to 6 ranks.
func TestAnyPlanComputesTheWhole(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := Default()
		p.PP = rapid.IntRange(1, 4).Draw(r, "pp")
		p.DP = rapid.IntRange(1, 6/p.PP).Draw(r, "dp")
		p.Micro = rapid.IntRange(1, 4).Draw(r, "micro")
		p.Schedule = rapid.SampledFrom(Schedules()).Draw(r, "schedule")
		s := toy{
			batch:   p.DP * p.Micro * rapid.IntRange(1, 2).Draw(r, "rows"),
			seq:     toySeq,
			bert:    rapid.Bool().Draw(r, "bert"),
			skip:    rapid.Bool().Draw(r, "skip"),
			dropout: rapid.SampledFrom([]float64{0, 0.3}).Draw(r, "dropout"),
		}
		for range p.PP {
			n := rapid.IntRange(1, 2).Draw(r, "blocks")
			p.Stages = append(p.Stages, n)
			s.blocks += n
		}
		checkPlan(t, r, s, p, onlyDP)
	})
}

// TestSchedulesGiveTheSameSums compares the gradients of both schedules bit for
// bit: micro-batches are summed in one order.
func TestSchedulesGiveTheSameSums(t *testing.T) {
	s := gpt(2, 4, toySeq)
	params, inputs := s.data(t, 1)
	s.batch = 1
	grads := map[Schedule][]map[string][]float64{}
	for _, schedule := range Schedules() {
		p := plan(t, "pp=2 micro=4 schedule="+string(schedule))
		h := newHub()
		got := make([]*outcome, 2)
		var ranks errgroup.Group
		for rank := range got {
			m := s.build(t)
			ranks.Go(func() error {
				part, err := Partition(m, p, rank)
				if err == nil {
					got[rank], err = runStep(h, part, params, inputs)
				}
				if err != nil {
					h.fail(err)
				}
				return err
			})
		}
		if err := ranks.Wait(); err != nil {
			t.Fatal(err)
		}
		grads[schedule] = []map[string][]float64{got[0].grads, got[1].grads}
	}
	if diff := cmp.Diff(grads[GPipe], grads[OneFOneB]); diff != "" {
		t.Error(diff)
	}
}

// TestTapeMachineRunsStages runs one micro-batch of every rank on Gorgonia's
// TapeMachine.
func TestTapeMachineRunsStages(t *testing.T) {
	s := gpt(2, 4, toySeq)
	params, inputs := s.data(t, 1)
	want := runWhole(t, s, params, inputs)
	p := plan(t, "pp=2 dp=2 tp=2")
	h := newHub()
	parts := make([]*Part, 8)
	got := make([]*outcome, 8)
	var ranks errgroup.Group
	for r := range parts {
		m := s.build(t)
		ranks.Go(func() (err error) {
			parts[r], err = PartitionBy(m, p, r, map[string]Table{AxisDP: DataParallel{}, AxisTP: TensorParallel{}})
			if err == nil {
				got[r], err = runTape(h, parts[r], params, inputs)
			}
			if err != nil {
				h.fail(err)
			}
			return err
		})
	}
	if err := ranks.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(compareLoss(parts, got, want), compareGrads(parts, got, want)); err != nil {
		t.Fatal(err)
	}
}

// runTape runs a part's only micro-batch, forward and backward in one go.
func runTape(h *hub, p *Part, params, inputs map[string][]float64) (*outcome, error) {
	if err := p.Stage.Differentiate(); err != nil {
		return nil, err
	}
	var micro int
	bind(h, p, &micro)
	leaves := newStageRun(p.Stage, params).leaves
	for n, v := range p.feed(inputs, 0) {
		leaves[n] = v
	}
	for n, v := range leaves {
		if err := G.Let(n, v); err != nil {
			return nil, err
		}
	}
	reads := make([]G.Value, len(p.Stage.Params)+1)
	for i, s := range p.Stage.Params {
		G.Read(s.Grad, &reads[i])
	}
	loss := &reads[len(p.Stage.Params)]
	if p.Stage.Loss != nil {
		G.Read(p.Stage.Loss, loss)
	}
	vm := G.NewTapeMachine(p.Stage.Graph)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		return nil, err
	}
	out := &outcome{grads: map[string][]float64{}}
	if *loss != nil {
		out.loss = floats(*loss)[0]
	}
	for i, s := range p.Stage.Params {
		out.grads[s.Param.Name] = slices.Clone(floats(reads[i]))
	}
	return out, nil
}

// TestPartitionIsDeterministic partitions twice and compares the listings.
func TestPartitionIsDeterministic(t *testing.T) {
	p := plan(t, "pp=2 dp=2 micro=2")
	for rank := range 4 {
		var listings [2]string
		for i := range listings {
			part, err := Partition(gpt(3, 2, toySeq).build(t), p, rank)
			if err != nil {
				t.Fatal(err)
			}
			if err := part.Stage.Differentiate(); err != nil {
				t.Fatal(err)
			}
			listings[i] = part.Describe()
		}
		if diff := cmp.Diff(listings[0], listings[1]); diff != "" {
			t.Errorf("rank %d: %s", rank, diff)
		}
	}
}

// noVocabulary leaves the table of the vocabulary whole.
type noVocabulary struct{ TensorParallel }

func (n noVocabulary) Param(p *graph.Param) Holding {
	if p.Name == "wte" {
		return Hold(Replicate)
	}
	return n.TensorParallel.Param(p)
}

// TestOneGradientReduction counts the communication of a Megatron block: one
// all-reduce in each direction for attention and one for the MLP, whatever the
// number of projections that share an input.
func TestOneGradientReduction(t *testing.T) {
	s := toy{blocks: 1, batch: 2, seq: toySeq, bert: true}
	part, err := PartitionBy(s.build(t), plan(t, "tp=2 dp=1"), 0, map[string]Table{AxisTP: noVocabulary{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := part.Stage.Differentiate(); err != nil {
		t.Fatal(err)
	}
	count := map[graph.Pass]int{}
	for _, n := range part.Stage.Graph.AllNodes() {
		if op := graph.OpOf(n); op != nil && op.Spec.Kind() == "all_reduce" {
			count[op.Tag.Pass]++
		}
	}
	if count[graph.Forward] != 2 || count[graph.Backward] != 2 {
		t.Errorf("%d all-reduces forward and %d backward, expected 2 and 2", count[graph.Forward], count[graph.Backward])
	}
}

func TestEvaluationHasLogitsOnly(t *testing.T) {
	for rank := range 2 {
		m := gpt(2, 2, toySeq).build(t)
		m.Loss = nil
		m.Inputs = slices.DeleteFunc(m.Inputs, func(in *graph.Input) bool { return in.Name == graph.InputScale || in.Name == graph.InputTargets })
		part, err := Partition(m, plan(t, "pp=2"), rank)
		if err != nil {
			t.Fatal(err)
		}
		if last := rank == 1; (part.Stage.Logits != nil) != last || part.Stage.Loss != nil {
			t.Errorf("rank %d: logits %v, loss %v", rank, part.Stage.Logits, part.Stage.Loss)
		}
	}
}

// badTable places one leaf wrongly.
type badTable struct {
	DataParallel
	param Holding
	input Placement
}

func (b badTable) Param(*graph.Param) Holding   { return b.param }
func (b badTable) Input(*graph.Input) Placement { return b.input }

// foreign is an operation that no rule knows.
type foreign struct{ graph.Activation }

func (foreign) Kind() string { return "foreign" }

func TestPartitionErrors(t *testing.T) {
	build := func(change func(m *graph.Model)) *graph.Model {
		m := gpt(2, 4, toySeq).build(t)
		if change != nil {
			change(m)
		}
		return m
	}
	for _, c := range []struct {
		name, plan string
		model      *graph.Model
		rank       int
		table      Table
		want       string
	}{
		{"no such rank", "dp=2", build(nil), 2, nil, "no rank 2"},
		{"stages", "pp=2 stages=1,2", build(nil), 0, nil, "hold 3 blocks"},
		{"rows do not divide", "dp=3", build(nil), 0, nil, "layer inputs, tokens: dimension 0 of int32[4 6] does not divide among the 3 ranks of axis dp"},
		{"states", "dp=2", build(func(m *graph.Model) { m.States = []*graph.State{{}} }), 0, nil, "states"},
		{"nothing to compute", "dp=2", build(func(m *graph.Model) { m.Loss, m.Logits = nil, nil }), 0, nil, "computes nothing"},
		{"unused parameter", "dp=2", build(func(m *graph.Model) {
			n, _ := graph.NewLeaf(m.Graph, "pooler", f64(2))
			m.Params = append(m.Params, &graph.Param{Name: "pooler", Node: n, Layer: 3})
		}), 0, nil, "layer head, pooler: nothing"},
		{"unknown leaf", "dp=2", build(func(m *graph.Model) { m.Inputs = m.Inputs[1:] }), 0, nil, "layer embedding, wte_lookup (embedding): its operand tokens is neither"},
		{"no such layer", "dp=2", build(func(m *graph.Model) { m.Layers = m.Layers[:3] }), 0, nil, "no such layer"},
		{"no rule", "dp=2", build(func(m *graph.Model) {
			m.Logits, _ = graph.Apply(foreign{graph.Activation{F: graph.SiLU}}, graph.Tag{Layer: 2, Name: "new"}, m.Logits)
		}), 0, nil, "layer h.1, new (foreign): no placement rule"},
		{"backwards", "pp=2", build(func(m *graph.Model) {
			m.Logits, _ = graph.Apply(graph.Activation{F: graph.SiLU}, graph.Tag{Layer: 1, Name: "early"}, m.Logits)
		}), 0, nil, "layer h.0, early (activation): stage 0 uses lm_head of the later stage 1"},
		{"loss not last", "pp=2", build(func(m *graph.Model) {
			m.Loss, _ = graph.Apply(graph.CrossEntropy{}, graph.Tag{Layer: 1, Name: "early"}, m.Layers[1].Out, m.Input("targets").Node, m.Input("scale").Node)
			m.Logits = nil
			m.Params = slices.DeleteFunc(m.Params, func(p *graph.Param) bool { return p.Layer > 1 })
		}), 0, nil, "not on the last"},
		{"table with a partial parameter", "dp=2", build(nil), 0, badTable{param: Hold(Partial)}, "layer embedding, wte: a parameter cannot"},
		{"table with a shard that does not divide", "dp=5", build(nil), 0, badTable{param: Hold(Shard(0))}, "layer embedding, wte: dimension 0"},
		{"table with a dimension too many", "dp=2", build(nil), 0, badTable{param: Hold(Shard(2))}, "which float64[12 6] does not have"},
		{"table with a copied input", "dp=2", build(nil), 0, badTable{input: Copied}, "tokens: an input is placed"},
		{"table that shards nothing", "dp=2", build(nil), 0, badTable{param: Hold(Copied)}, "the loss is copied on axis dp"},
		{"table that cannot be followed", "dp=2", build(nil), 0, badTable{param: Holding{Copied, Shard(1)}}, "no conversion from copied to shard(1) on axis dp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tables := onlyDP
			if c.table != nil {
				tables = map[string]Table{AxisDP: c.table}
			}
			_, err := PartitionBy(c.model, plan(t, c.plan), c.rank, tables)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nexpected to hold %q", err, c.want)
			}
		})
	}
	t.Run("typed", func(t *testing.T) {
		_, err := PartitionBy(build(nil), plan(t, "dp=2"), 0, map[string]Table{AxisDP: badTable{param: Holding{Copied, Shard(1)}}})
		var placed *PartitionError
		var refused *ConversionError
		if !errors.As(err, &placed) || !errors.As(err, &refused) {
			t.Errorf("error %v", err)
		}
	})
}

func TestRowsOfMicroBatches(t *testing.T) {
	seen := map[int]int{}
	p := plan(t, "dp=3 micro=2")
	for rank := range 3 {
		part, err := Partition(gpt(1, 6, toySeq).build(t), p, rank)
		if err != nil {
			t.Fatal(err)
		}
		for m := range 2 {
			first, count := part.Rows.Of(m)
			for row := first; row < first+count; row++ {
				seen[row]++
			}
			if want := m*6 + rank*2; first != want || count != 2 {
				t.Errorf("rank %d, micro-batch %d: rows %d+%d, expected %d+2", rank, m, first, count, want)
			}
		}
	}
	for row := range 12 {
		if seen[row] != 1 {
			t.Errorf("row %d is taken %d times", row, seen[row])
		}
	}
}

func TestTiedParameters(t *testing.T) {
	p := plan(t, "pp=3 dp=2")
	for rank := range 6 {
		part, err := Partition(gpt(3, 2, toySeq).build(t), p, rank)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for _, s := range part.Stage.Params {
			if s.Param.Name == "wte" {
				got = fmt.Sprint(s.SumOver, part.Groups["tied.0"], part.Counted[s])
			}
		}
		want := ""
		if stage := rank / 2; stage != 1 {
			want = fmt.Sprint([]string{"dp", "tied.0"}, []int{rank % 2, 4 + rank%2}, rank == 0)
		}
		if got != want {
			t.Errorf("rank %d: %s, expected %s", rank, got, want)
		}
	}
}

// TestNamesOfCommunicationAreUnique partitions a model whose operations share a
// name: what the ranks communicate must still be told apart.
func TestNamesOfCommunicationAreUnique(t *testing.T) {
	m := gpt(2, 2, toySeq).build(t)
	for _, n := range m.Graph.AllNodes() {
		if op := graph.OpOf(n); op != nil {
			op.Tag.Name = "same"
		}
	}
	part, err := PartitionBy(m, plan(t, "tp=2"), 0, map[string]Table{AxisTP: TensorParallel{}})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, n := range part.Stage.Graph.AllNodes() {
		op := graph.OpOf(n)
		if op == nil {
			continue
		}
		if _, ok := op.Spec.(graph.Collective); ok {
			if seen[op.Tag.Name] {
				t.Errorf("two collectives named %s", op.Tag.Name)
			}
			seen[op.Tag.Name] = true
		}
	}
}

// TestTokensAreScalars checks the leaves that stand for what is received.
func TestTokensAreScalars(t *testing.T) {
	part, err := Partition(gpt(2, 2, toySeq).build(t), plan(t, "pp=2"), 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(part.Stage.Tokens) != 1 || !cmp.Equal(graph.TypeOf(part.Stage.Tokens[0]).Shape, tensor.ScalarShape()) {
		t.Errorf("tokens %v", part.Stage.Tokens)
	}
	if part.Peer(0) != 0 {
		t.Errorf("peer on stage 0 is rank %d", part.Peer(0))
	}
}
