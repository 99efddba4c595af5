package parallel

import (
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/graph"
	"github.com/google/go-cmp/cmp"
)

// The strategies below need no code of the partitioner's: each is a table.

// megatron is tensor parallelism: column-parallel projections into heads and
// the inner width, row-parallel ones out of them; with vocab, the embedding is
// sharded along the vocabulary. Shoeybi et al. (2019), section 3.
type megatron struct{ bert, vocab bool }

func (m megatron) Param(p *graph.Param) Holding {
	suffix := p.Name[strings.LastIndex(strings.TrimSuffix(strings.TrimSuffix(p.Name, ".w"), ".b"), ".")+1:]
	column := map[string]int{"attn.w": 2, "attn.b": 1, "proj.w": 0, "fc.w": 1, "fc.b": 0, "out.w": 0}
	if m.bert {
		column = map[string]int{
			"q.w": 0, "q.b": 0, "k.w": 0, "k.b": 0, "v.w": 0, "v.b": 0,
			"proj.w": 1, "fc.w": 0, "fc.b": 0, "out.w": 1,
		}
	}
	if d, ok := column[suffix]; ok {
		return Hold(Shard(d))
	}
	if m.vocab && p.Name == "wte" {
		return Hold(Shard(0))
	}
	return Hold(Replicate)
}

func (megatron) Input(*graph.Input) Placement { return Replicate }

// megatronSP adds sequence parallelism: between the projections the ranks hold
// parts of the sequence. Korthikanti et al. (2022), section 4.2.2.
type megatronSP struct{ megatron }

func (m megatronSP) Param(p *graph.Param) Holding {
	if h := m.megatron.Param(p); h != Hold(Replicate) {
		return h
	}
	return Hold(Copied)
}

func (megatronSP) Input(in *graph.Input) Placement { return ulysses{}.Input(in) }

// ulysses splits the sequence everywhere but in attention. Jacobs et al. (2023).
type ulysses struct{}

func (ulysses) Param(*graph.Param) Holding { return Hold(Copied) }

func (ulysses) Input(in *graph.Input) Placement {
	if in.PerRow() && in.Name != graph.InputMask {
		return Shard(1)
	}
	return Replicate
}

// zero3 is data parallelism that holds parameters in n parts where they divide.
type zero3 struct {
	DataParallel
	n int
}

func (z zero3) Param(p *graph.Param) Holding {
	for d, size := range p.Shape {
		if size%z.n == 0 {
			return Holding{Held: Shard(d), Used: Copied}
		}
	}
	return Hold(Copied)
}

func TestStrategiesAreTables(t *testing.T) {
	gpt2, free := gpt(2, 4, toySeq), gpt(2, 4, toySeq)
	gpt2.dropout = 0.25
	free.free = true
	bert := toy{blocks: 2, batch: 4, seq: toySeq, bert: true, dropout: 0.2}
	freeBERT := toy{blocks: 2, batch: 4, seq: toySeq, bert: true, free: true}
	for _, c := range []struct {
		name, plan string
		toy        toy
		dp, tp     Table
	}{
		{"tensor parallel", "tp=2", gpt2, nil, megatron{}},
		{"tensor parallel of three", "tp=3 micro=2", gpt2, nil, megatron{}},
		{"tensor parallel vocabulary", "tp=2 pp=2 micro=2", gpt2, nil, megatron{vocab: true}},
		{"tensor parallel bert", "tp=2 dp=2", bert, DataParallel{}, megatron{bert: true}},
		{"pipeline, data and tensor parallel", "pp=2 dp=2 tp=2 micro=2", gpt2, DataParallel{}, megatron{vocab: true}},
		{"sequence parallel", "tp=2", free, nil, megatronSP{}},
		{"sequence parallel vocabulary", "tp=3 dp=2", free, DataParallel{}, megatronSP{megatron{vocab: true}}},
		{"ulysses", "tp=2 dp=2 micro=2", free, DataParallel{}, ulysses{}},
		{"ulysses in a pipeline", "tp=3 pp=2 micro=2", free, nil, ulysses{}},
		{"context parallel", "tp=2 micro=2", free, nil, ContextParallel{}},
		{"context parallel of three in a pipeline with data parallelism", "tp=3 pp=2 dp=2 micro=2", free, DataParallel{}, ContextParallel{}},
		{"context parallel bert", "tp=3 dp=2", freeBERT, DataParallel{}, ContextParallel{}},
		{"context and tensor parallel", "dp=3 tp=2 micro=2", free, ContextParallel{}, megatron{}},
		{"context and tensor parallel bert", "dp=2 tp=3", freeBERT, ContextParallel{}, megatron{bert: true}},
		{"context parallel over two axes", "dp=2 tp=3 pp=2 micro=2", free, ContextParallel{}, ContextParallel{}},
		{"context parallel over two axes bert", "dp=3 tp=2", freeBERT, ContextParallel{}, ContextParallel{}},
		{"context parallel with ulysses", "dp=3 tp=2", free, ContextParallel{}, ulysses{}},
		{"zero-3", "dp=2 micro=2", gpt2, zero3{n: 2}, nil},
		{"zero-3 bert in a pipeline", "dp=2 pp=2 micro=2", bert, zero3{n: 2}, nil},
		{"zero-3 with tensor parallelism", "dp=2 tp=3", gpt2, zero3{n: 2}, megatron{}},
		{"replicated", "tp=2", gpt2, nil, Replicated{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tables := map[string]Table{}
			for axis, table := range map[string]Table{AxisDP: c.dp, AxisTP: c.tp} {
				if table != nil {
					tables[axis] = table
				}
			}
			checkPlan(t, t, c.toy, plan(t, c.plan), tables)
		})
	}
}

// TestRotations counts the communication of a ring: keys and values go around it
// once forward and, with their gradients, once backward.
func TestRotations(t *testing.T) {
	toy := gpt(1, 4, toySeq)
	toy.free = true
	part, err := PartitionBy(toy.build(t), plan(t, "tp=3"), 1, map[string]Table{AxisTP: ContextParallel{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := part.Stage.Differentiate(); err != nil {
		t.Fatal(err)
	}
	names := map[graph.Pass][]string{}
	forward, backward := part.Stage.Roots()
	for _, n := range graph.Order(append(forward, backward...)...) {
		if op := graph.OpOf(n); op != nil && op.Spec.Kind() == "rotate" {
			names[op.Tag.Pass] = append(names[op.Tag.Pass], strings.TrimPrefix(op.Tag.Name, "h.0.core."))
		}
	}
	want := map[graph.Pass][]string{
		graph.Forward:  {"kv.1", "kv.2"},
		graph.Backward: {"grad.dkv.1", "grad.kv.1", "grad.dkv.2", "grad.kv.2", "grad.dkv.3"},
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}
