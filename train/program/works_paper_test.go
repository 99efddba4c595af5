package program_test

import (
	"testing"

	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/parallel/cost"
	"github.com/galvani-ml/galvani/train/program"
)

// The published cost model has a formula for what a layer does; here that is read
// off the layer's rewritten graph. These tests hold the one against the other, and
// say where and why they differ.

const (
	width     = 64                   // of gpt, the model of these tests
	hidden    = 4 * width * 64       // bytes of b*s*h of one sequence of 64 tokens, in fp32
	sequences = 2                    // of a rank
	lastProd  = 2 * 64 * 4 * 64 * 64 // FLOPs of the block's last product, of one sequence
)

// block reads off a block for two sequences a rank.
func block(t *testing.T, plan string) cost.Work { return works(t, plan, 1, sequences).Block }

func works(t *testing.T, plan string, stages, rows int) *program.LayerWorks {
	t.Helper()
	s := strategy(t, plan)
	w, err := program.Works(optionsOf(gpt(false)), s, stages, rows*s.DP, newBackend(t))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// work sums FLOPs of the forward pass, of the backward pass, and of what is
// computed again, leaving attention's out or counting only them.
func work(w cost.Work, attention bool) (forward, backward, again int64) {
	for _, o := range w.Ops {
		if (o.Kind == (graph.Attention{}).Kind() || o.Kind == (graph.AttentionGrad{}).Kind()) != attention {
			continue
		}
		switch {
		case o.Again:
			again += o.FLOPs
		case o.Pass == graph.Backward:
			backward += o.FLOPs
		default:
			forward += o.FLOPs
		}
	}
	return forward, backward, again
}

// moved counts exchanges of a kind, and their bytes.
func moved(w cost.Work, kind string, is func(cost.Exchange) bool) (count int, bytes int64) {
	for _, e := range w.Exchanges {
		if e.Kind == kind && is(e) {
			count, bytes = count+e.Count, bytes+int64(e.Count)*e.Bytes
		}
	}
	return count, bytes
}

func everyMicroBatch(e cost.Exchange) bool { return !e.Once }
func onceAStep(e cost.Exchange) bool       { return e.Once }

// "F = f * b / t (affine: m*(b/t)+c). Bk = 2F; + F when checkpointed". Of the
// products. The backward pass of attention is 2.5 times its forward pass, for it
// computes the scores again; and what is computed again when checkpointed is F
// less the last product, whose result nothing reads.
func TestPaperForwardAndBackward(t *testing.T) {
	for _, c := range []struct {
		plan string
		t    int64
	}{{"dp=1", 1}, {"tp=2", 2}, {"tp=4", 4}, {"sp=2", 2}, {"dp=2", 1}} {
		one, _, _ := work(block(t, "dp=1"), false)
		forward, backward, again := work(block(t, c.plan), false)
		if forward != one/c.t || backward != 2*forward || again != 0 {
			t.Errorf("%s: products of %d, %d and %d FLOPs, want %d, twice that, and none", c.plan, forward, backward, again, one/c.t)
		}
		f, b, _ := work(block(t, c.plan), true)
		if 2*b != 5*f {
			t.Errorf("%s: attention of %d and %d FLOPs, want 2.5 times as many", c.plan, f, b)
		}
		_, _, again = work(block(t, c.plan+" ckpt=all"), false)
		if again != forward-sequences*lastProd/c.t {
			t.Errorf("%s: %d FLOPs computed again, want %d less the last product", c.plan, again, forward)
		}
		double := works(t, c.plan, 1, 2*sequences).Block
		if f, _, _ := work(double, false); f != 2*forward {
			t.Errorf("%s: %d FLOPs for twice the sequences, %d for them", c.plan, f, forward)
		}
	}
}

// "TP: n_c * T_ag(x), x = b*s*h*(2|4) bytes in MB; ... n_c = 6 per layer (comment:
// attention 3, MLP 3, on hidden states), x1.5 when checkpointed." T_ag is half an
// all-reduce, so that is 3 all-reduces, and 4.5. The graph has 4 of [b, s, h], and
// with checkpointing 5: the last of the forward pass is not needed again.
func TestPaperTensorParallel(t *testing.T) {
	for plan, want := range map[string]int{"tp=2": 4, "tp=4": 4, "tp=2 ckpt=all": 5, "dp=2 tp=2": 4} {
		count, bytes := moved(block(t, plan), "all_reduce", func(e cost.Exchange) bool { return everyMicroBatch(e) && !e.Beside })
		if count != want || bytes != int64(want*sequences*hidden) {
			t.Errorf("%s: %d all-reduces of %d bytes in all, want %d of %d", plan, count, bytes, want, sequences*hidden)
		}
	}
}

// Megatron's sequence parallelism has two halves of each: 8 gathers and scatters,
// with checkpointing 11.
func TestPaperSequenceParallel(t *testing.T) {
	for plan, want := range map[string]int{"tp=2 sequence_parallel=on": 8, "tp=4 sequence_parallel=on ckpt=all": 11} {
		gathers, gathered := moved(block(t, plan), "all_gather", everyMicroBatch)
		scatters, scattered := moved(block(t, plan), "reduce_scatter", everyMicroBatch)
		if gathers+scatters != want || gathered+scattered != int64(want*sequences*hidden) {
			t.Errorf("%s: %d gathers and %d scatters of %d bytes in all, want %d of %d", plan, gathers, scatters, gathered+scattered, want, sequences*hidden)
		}
	}
}

// "Ulysses: n_c = 4 all-to-all, same x1.5." The graph has 4 exchanges, 6 with
// checkpointing, but queries, keys and values go together: 8 tensors of a rank's
// part of [b, s, h] and 12.
func TestPaperUlysses(t *testing.T) {
	for plan, want := range map[string]struct{ count, tensors, ranks int }{
		"sp=2": {4, 8, 2}, "sp=4": {4, 8, 4}, "sp=2 ckpt=all": {6, 12, 2},
	} {
		count, bytes := moved(block(t, plan), "all_to_all", everyMicroBatch)
		if count != want.count || bytes != int64(want.tensors*sequences*hidden/want.ranks) {
			t.Errorf("%s: %d all-to-alls of %d bytes in all, want %+v", plan, count, bytes, want)
		}
	}
}

// "CP in the space is off by default and layer CP communication is not costed":
// here keys and values are counted round the ring, N-1 times forward, and backward
// with their gradients, which take one step more.
func TestPaperContextParallel(t *testing.T) {
	for plan, n := range map[string]int{"cp=2": 2, "cp=4": 4} {
		forward, _ := moved(block(t, plan), "rotate", func(e cost.Exchange) bool { return e.Pass == graph.Forward })
		all, bytes := moved(block(t, plan), "rotate", everyMicroBatch)
		if forward != n-1 || all != 3*(n-1)+1 || bytes != int64(all*2*sequences*hidden/n) {
			t.Errorf("%s: %d rotations, %d forward, %d bytes", plan, all, forward, bytes)
		}
	}
}

// "DP gradient all-reduce: M = 2(D-1)/D * P_l/t MB ... Charged on the LAST
// micro-batch only". A block makes one all-reduce of its gradients, once a step,
// beside the backward pass; the ring moves 2(D-1)/D of it.
func TestPaperGradientReduction(t *testing.T) {
	c := &cluster.Cluster{Name: "ring", Hosts: 1, PerHost: 4, Overlap: 1, Device: cluster.Device{Bandwidth: 1},
		Links: []cluster.Link{{Span: 4, Bandwidth: 1, Shared: cluster.SharedDevice}}}
	for plan, ranks := range map[string]int{"dp=2": 2, "dp=4": 4, "dp=2 tp=2": 2, "dp=2 ckpt=all": 2} {
		w := block(t, plan)
		count, bytes := moved(w, "all_reduce", onceAStep)
		if count != 1 || bytes != 4*w.Params {
			t.Errorf("%s: %d all-reduces of %d bytes, want one of the gradients of %d parameters", plan, count, bytes, w.Params)
		}
		for _, e := range w.Exchanges {
			if e.Once && (!e.Beside || e.Pass != graph.Backward || e.Group.Ranks != ranks) {
				t.Errorf("%s: %+v", plan, e)
			}
			if d := float64(ranks); e.Once && c.Flow(e.Exchange).Bytes != 2*(d-1)/d*float64(bytes) {
				t.Errorf("%s: a rank moves %v bytes", plan, c.Flow(e.Exchange).Bytes)
			}
		}
	}
}

// "Physically forward+backward all-gather = 1.0*M per micro-batch; they charge
// 0.5." Here both gathers are there, of a micro-batch each, and the scatter; the
// backward one leaves out what no gradient reads, the biases, 2816 bytes.
func TestPaperZeRO3Gathers(t *testing.T) {
	params := block(t, "dp=1").Params
	for _, plan := range []string{"dp=2 zero=3", "dp=4 zero=3"} {
		w := block(t, plan)
		for _, c := range []struct {
			kind string
			pass graph.Pass
			want int64
		}{{"all_gather", graph.Forward, 4 * params}, {"all_gather", graph.Backward, 4*params - 2816}, {"reduce_scatter", graph.Backward, 4 * params}} {
			count, bytes := moved(w, c.kind, func(e cost.Exchange) bool { return everyMicroBatch(e) && e.Pass == c.pass && e.Beside })
			if count != 1 || bytes != c.want {
				t.Errorf("%s: %d of %s in pass %v, %d bytes, want %d", plan, count, c.kind, c.pass, bytes, c.want)
			}
		}
	}
}

// "model states = 4*P_l/t (param, grad, 2 Adam; ... 16 B/param) x ratio. ZeRO-3,
// m=1: (1/D + 0.003)". Exactly 16 B a parameter, and 1/D of it: nothing is added.
// ZeRO-1 and 2 keep what they share besides as the pass over the batch uses it:
// the parameters, and with ZeRO-1 the gradients.
func TestPaperStates(t *testing.T) {
	params := block(t, "dp=1").Params
	for plan, each := range map[string]int64{
		"dp=1": 16, "dp=4": 16, "ckpt=all": 16, "sp=4": 16, "cp=2": 16,
		"dp=4 zero=1": 8 + 16/4, "dp=4 zero=2": 4 + 16/4, "dp=4 zero=3": 16 / 4, "sp=4 zero=3": 16 / 4, "dp=2 zero=3 ckpt=all": 16 / 2,
	} {
		if got := block(t, plan).States; got != each*params {
			t.Errorf("%s: %d bytes, want %d of each of %d parameters", plan, got, each, params)
		}
	}
	if w := block(t, "tp=4"); w.States != 16*w.Params || w.Params >= params/4+params/100+1 {
		t.Errorf("tp=4: %d bytes of %d parameters", w.States, w.Params)
	}
}

// "activation = a(t) * b * q, or a_ck * b * q (/t under Megatron-SP or Ulysses)
// when checkpointed": what is kept grows with the sequences; a checkpointed block
// keeps what enters it, [b, s, h], of which each rank has its part where the
// sequence is split.
func TestPaperActivations(t *testing.T) {
	for plan, parts := range map[string]int{
		"ckpt=all": 1, "dp=4 ckpt=all": 1, "tp=4 ckpt=all": 1, "tp=4 sequence_parallel=on ckpt=all": 4, "sp=2 ckpt=all": 2, "cp=4 ckpt=all": 4,
	} {
		if got := block(t, plan).Activation; got != int64(sequences*hidden/parts) {
			t.Errorf("%s: keeps %d bytes, want 1/%d of what enters", plan, got, parts)
		}
	}
	for _, plan := range []string{"dp=1", "tp=2", "tp=4 sequence_parallel=on", "sp=2", "dp=2 zero=3"} {
		one, three := works(t, plan, 1, 1).Block.Activation, works(t, plan, 1, 3).Block.Activation
		if three != 3*one {
			t.Errorf("%s: %d bytes of one sequence, %d of three", plan, one, three)
		}
	}
	if tp, sp := block(t, "tp=4").Activation, block(t, "tp=4 sequence_parallel=on").Activation; sp >= tp {
		t.Errorf("Megatron-SP keeps %d bytes, tensor parallelism alone %d", sp, tp)
	}
}

// "that layer's backward extra O_b, notably recomputed intermediates", from memory
// of the paper; "(b) backward peak absent" in the code. A checkpointed block has
// at its peak at least what it would otherwise have kept, and ZeRO-3 at least the
// parameters that it gathers.
func TestPaperBackwardPeak(t *testing.T) {
	for _, plan := range []string{"dp=1", "tp=2", "sp=2"} {
		kept, again := block(t, plan), block(t, plan+" ckpt=all")
		if again.Peak+again.Activation < kept.Activation {
			t.Errorf("%s: %d bytes at the peak of a checkpointed block, %d kept of another", plan, again.Peak, kept.Activation)
		}
	}
	if w, params := block(t, "dp=4 zero=3"), block(t, "dp=4").Params; w.Peak < 4*params {
		t.Errorf("zero=3: a peak of %d bytes, %d are gathered", w.Peak, 4*params)
	}
}

// "(d) embedding gradient sync (D-1)/D * 0.5 * M while layers use 2(D-1)/D": here
// embedding and head make an all-reduce of all their gradients as blocks do.
func TestPaperEmbeddingReduction(t *testing.T) {
	w := works(t, "dp=4", 1, sequences)
	for name, l := range map[string]cost.Work{"embedding": w.Embedding, "block": w.Block, "head": w.Head} {
		if count, bytes := moved(l, "all_reduce", onceAStep); count != 1 || bytes != 4*l.Params {
			t.Errorf("%s: %d all-reduces of %d bytes, of %d parameters", name, count, bytes, l.Params)
		}
	}
}

// "PP: + pp*2*b*s*h*4B": here a message is charged to the stages that it is
// between: [b, s, h] forward, and as much back.
func TestPaperMessages(t *testing.T) {
	for plan, parts := range map[string]int{"dp=1": 1, "dp=2": 1, "tp=2": 1, "tp=2 sequence_parallel=on": 2, "sp=2": 2} {
		if got := works(t, plan, 2, sequences).Border; got != int64(sequences*hidden/parts) {
			t.Errorf("%s: a message of %d bytes, want 1/%d of %d", plan, got, parts, sequences*hidden)
		}
	}
}
