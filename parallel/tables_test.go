package parallel

import (
	"strings"
	"testing"

	"github.com/galvani-ml/galvani/graph"
	"github.com/google/go-cmp/cmp"
)

// toySplit returns the dimension of a toy's parameter that tensor parallelism
// splits.
func toySplit(p *graph.Param, bert bool) (int, bool) {
	suffix := p.Name[strings.LastIndex(strings.TrimSuffix(strings.TrimSuffix(p.Name, ".w"), ".b"), ".")+1:]
	dims := map[string]int{"wte": 0, "attn.w": 2, "attn.b": 1, "proj.w": 0, "fc.w": 1, "fc.b": 0, "out.w": 0}
	if bert {
		dims = map[string]int{
			"wte": 0, "q.w": 0, "q.b": 0, "k.w": 0, "k.b": 0, "v.w": 0, "v.b": 0,
			"proj.w": 1, "fc.w": 0, "fc.b": 0, "out.w": 1,
		}
	}
	d, ok := dims[suffix]
	return d, ok
}

// TestStrategies runs each strategy, alone, with others, and mixed by layer.
func TestStrategies(t *testing.T) {
	gpt2, free := gpt(2, 4, toySeq), gpt(2, 4, toySeq)
	gpt2.dropout = 0.25
	free.free = true
	bert := toy{blocks: 2, batch: 4, seq: toySeq, bert: true, dropout: 0.2}
	odd := gpt2
	odd.vocab = 11
	for _, c := range []struct {
		name, plan string
		toy        toy
	}{
		{"tensor parallel", "tp=2", gpt2},
		{"tensor parallel of three", "tp=3 micro=2", gpt2},
		{"tensor parallel in a pipeline", "tp=2 pp=2 micro=2", gpt2},
		{"tensor parallel bert", "tp=2 dp=2", bert},
		{"tensor parallel outside data parallel", "tp=2 dp=2 order=tp,dp", gpt2},
		{"a vocabulary that does not divide", "tp=2 pp=2 micro=2", odd},
		{"pipeline, data and tensor parallel", "pp=2 dp=2 tp=2 micro=2", gpt2},
		{"sequence parallel", "tp=2 sequence_parallel=on", gpt2},
		{"sequence parallel of three", "tp=3 dp=2 sequence_parallel=on", free},
		{"sequence parallel bert", "tp=3 sequence_parallel=on", bert},
		{"ulysses", "sp=2 dp=2 micro=2", gpt2},
		{"ulysses bert", "sp=3", bert},
		{"ulysses in a pipeline", "sp=3 pp=2 micro=2", free},
		{"ulysses and tensor parallel", "sp=3 tp=2", free},
		{"context parallel", "cp=2 dp=2", gpt2},
		{"context parallel of three in a pipeline with data parallelism", "cp=3 pp=2 dp=2 micro=2", free},
		{"context parallel bert", "cp=3", bert},
		{"context and tensor parallel bert", "cp=2 tp=3", bert},
		{"context parallel over two axes", "layers=0:dp=2,cp=3;1:cp=6;2:cp=6;3:dp=2,cp=3", free},
		{"context parallel with ulysses", "cp=3 sp=2", gpt2},
		{"ulysses outside context parallel", "cp=3 sp=2 order=sp,cp", gpt2},
		{"zero-3 with context parallelism", "cp=2 dp=2 zero=3", bert},
		{"context parallel with ulysses and tensor parallel", "cp=3 tp=2", free},
		{"zero-1", "dp=2 micro=2 zero=1", gpt2},
		{"zero-2", "dp=2 micro=2 zero=2", gpt2},
		{"zero-3", "dp=2 micro=2 zero=3", gpt2},
		{"zero-3 bert in a pipeline", "dp=2 pp=2 micro=2 zero=3", bert},
		{"zero-3 with tensor parallelism", "dp=2 tp=3 zero=3", gpt2},
		{"zero-3 with ulysses", "dp=2 sp=2 zero=3", gpt2},
		{"checkpointed", "pp=2 micro=2 ckpt=all", gpt2},
		{"checkpointed tensor parallel bert", "tp=3 ckpt=all sequence_parallel=on", bert},
		{"checkpointed ring", "cp=2 dp=2 ckpt=all zero=3", gpt2},
		{"checkpointed zero-1", "dp=2 micro=2 ckpt=all zero=1", gpt2},
		{"an inner width that does not divide", "tp=3", toy{blocks: 2, batch: 4, seq: toySeq, inner: 10}},
		{"an inner width that does not divide, bert with zero-3", "tp=3 dp=2 zero=3", toy{blocks: 2, batch: 4, seq: toySeq, inner: 10, bert: true}},
		{"neither inner width nor sequence divides", "tp=2 cp=2", toy{blocks: 2, batch: 4, seq: toySeq, inner: 7, free: true}},
		{"neither inner width nor sequence divides, bert", "tp=2 cp=2", toy{blocks: 2, batch: 4, seq: toySeq, inner: 7, free: true, bert: true}},
		{"mixed", "layers=0:dp=2;1:tp=2;2:dp=2,zero=3;3:dp=2", gpt2},
		{"mixed in a pipeline", "pp=2 micro=2 layers=0:dp=2;1:tp=2;2:dp=2,zero=3;3:dp=2", gpt2},
		{"mixed over four ranks", "layers=0:dp=4;1:tp=2,dp=2;2:dp=2,sp=2,zero=3;3:tp=2,dp=2", gpt2},
		{"mixed orders", "layers=0:dp=4;1:tp=2,dp=2,order=tp,dp;2:dp=2,tp=2;3:dp=4", gpt2},
		{"mixed vocabulary", "layers=0:tp=2;1:dp=2;2:sp=2;3:dp=2", gpt2},
		{"mixed vocabulary sharded", "layers=0:dp=2,zero=3;1:dp=2;2:sp=2;3:tp=2", gpt2},
		{"mixed vocabulary over three axes", "layers=0:dp=2,tp=2;1:dp=4;2:dp=4;3:tp=4", gpt(2, 4, toySeq)},
		{"mixed over six ranks", "layers=0:dp=2,tp=3;1:dp=2,tp=3,zero=3;2:dp=2,sp=3;3:dp=2,tp=3,sequence_parallel=on", bert},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkPlan(t, t, c.toy, plan(t, c.plan), nil)
		})
	}
	t.Run("replicated", func(t *testing.T) {
		checkPlan(t, t, gpt2, plan(t, "tp=2"), map[string]Table{AxisTP: Replicated{}})
	})
}

// TestRotations counts the communication of a ring: keys and values go around it
// once forward and, with their gradients, once backward.
func TestRotations(t *testing.T) {
	toy := gpt(1, 4, toySeq)
	toy.free = true
	part, err := Partition(toy.build(t), plan(t, "cp=3"), 1)
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
