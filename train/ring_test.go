package train

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/program"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Sizes of the models of this file: sequences, tokens, width, heads, width of a
// head, vocabulary.
const ringB, ringT, ringC, ringH, ringD, ringV = 4, 48, 12, 2, 6, 17

// ringModel is two blocks in the manner of GPT or, masked, of BERT.
func ringModel(bert bool, batch int) (*graph.Model, error) {
	b := graph.NewBuilder(tensor.Float32)
	ids := func(name string) *G.Node { return b.Input(name, tensor.Int32, batch, ringT) }
	linear := func(name string, s graph.Linear, x *G.Node, bias []int, shape ...int) *G.Node {
		return b.Apply(name, s, x, b.Param(name+".w", graph.Init{Std: 0.3}, shape...), b.Param(name+".b", graph.Init{Std: 0.3}, bias...))
	}
	tokens := ids(graph.InputTokens)
	b.Layer("embedding", "embedding", "")
	table := b.Param("wte", graph.Init{Std: 1}, ringV, ringC)
	x := b.EndLayer(b.Apply("lookup", graph.Embedding{}, tokens, table))
	var mask *G.Node
	if bert {
		mask = ids(graph.InputMask)
	}
	for i := range 2 {
		b.Layer(fmt.Sprintf("h.%d", i), "block", fmt.Sprintf("h.%d.", i))
		y := b.Apply("ln", graph.LayerNorm{Eps: 1e-5}, x, b.Param("ln.w", graph.Init{Mean: 1}, ringC), b.Param("ln.b", graph.Init{}, ringC))
		if bert {
			s := graph.Linear{Contract: 1, Transposed: true}
			heads := func(name string) *G.Node { return linear(name, s, y, []int{ringH, ringD}, ringH, ringD, ringC) }
			y = b.Apply("attn", graph.Attention{Masked: true}, heads("q"), heads("k"), heads("v"), mask)
		} else {
			y = linear("qkv", graph.Linear{Contract: 1}, y, []int{3, ringH, ringD}, ringC, 3, ringH, ringD)
			y = b.Apply("attn", graph.Attention{Causal: true, Packed: true}, y)
		}
		y = b.Apply("proj", graph.Linear{Contract: 2}, y, b.Param("proj.w", graph.Init{Std: 0.3}, ringH, ringD, ringC))
		x = b.EndLayer(b.Apply("res", graph.Add{}, x, b.Apply("act", graph.Activation{F: graph.GELUTanh}, y)))
	}
	b.Layer("head", "head", "")
	logits := b.Logits(b.Apply("lm_head", graph.Linear{Contract: 1, Transposed: true}, x, table))
	b.Loss(b.Apply("loss", graph.CrossEntropy{}, logits, ids(graph.InputTargets), b.Scalar(graph.InputScale)))
	return b.Model()
}

// ringBatch draws the inputs [B, T] of a batch, the last quarter of the first
// sequence padding.
func ringBatch() map[string][]int32 {
	r := rand.New(rand.NewPCG(1, 2))
	batch := map[string][]int32{}
	for _, name := range []string{graph.InputTokens, graph.InputTargets, graph.InputMask} {
		for i := range ringB * ringT {
			v := int32(r.IntN(ringV))
			if name == graph.InputMask {
				v = min(v, 1)
				if i < ringT && i >= ringT*3/4 {
					v = 0
				}
			}
			batch[name] = append(batch[name], v)
		}
	}
	return batch
}

// splitHeads shards heads, as Megatron does.
type splitHeads struct{ parallel.Replicated }

func (splitHeads) Param(p *graph.Param) parallel.Holding {
	dims := map[string]int{"qkv.w": 2, "qkv.b": 1, "q.w": 0, "q.b": 0, "k.w": 0, "k.b": 0, "v.w": 0, "v.b": 0, "proj.w": 0}
	if d, ok := dims[p.Name[strings.Index(p.Name, ".")+3:]]; ok && strings.HasPrefix(p.Name, "h.") {
		return parallel.Hold(parallel.Shard(d))
	}
	return parallel.Hold(parallel.Replicate)
}

// ringStep is what a step gives on a rank: statistics, and the summed gradients
// by name.
type ringStep struct {
	stats exec.Stats
	part  *parallel.Part
	grads map[string][]float32
}

// runRing runs a step on one rank. sequence names the axis that splits it.
func runRing(t *testing.T, bert bool, plan *parallel.Plan, tables map[string]parallel.Table, sequence string, number int, transport comm.Transport) (*ringStep, error) {
	model, err := ringModel(bert, ringB/plan.Micro)
	if err != nil {
		return nil, err
	}
	part, err := parallel.PartitionBy(model, plan, number, tables)
	if err != nil {
		return nil, err
	}
	if err := part.Stage.Differentiate(); err != nil {
		return nil, err
	}
	backend, err := cpu.New(1)
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	compiled, err := exec.Compile(part.Stage, backend, exec.Options{
		Slots: part.Slots, Train: true, Counted: func(s *graph.Shard) bool { return part.Counted[s] }, LossReplica: program.LossReplica(part),
	})
	if err != nil {
		return nil, err
	}
	w, err := program.NewComm(transport, part)
	if err != nil {
		return nil, err
	}
	m, err := exec.New(compiled, w)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	for _, p := range m.Params() {
		if err := initShard(p); err != nil {
			return nil, err
		}
	}
	first := true
	for _, a := range part.Schedule {
		mb := exec.MicroBatch{Slot: a.Slot, Index: a.Micro}
		if a.Pass == graph.Backward {
			err, first = m.Backward(t.Context(), mb, first), false
		} else {
			feedRing(m, part, sequence, mb)
			err = m.Forward(t.Context(), mb)
		}
		if err != nil {
			return nil, err
		}
	}
	step := &ringStep{part: part, grads: map[string][]float32{}}
	step.stats, err = m.Update(t.Context(), exec.AdamW{LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Step: 1})
	for _, p := range m.Params() {
		step.grads[p.Shard.Param.Name] = slices.Clone(p.Grad)
	}
	return step, err
}

// feedRing cuts a rank's rows and tokens out of the batch.
func feedRing(m *exec.Machine, part *parallel.Part, sequence string, mb exec.MicroBatch) {
	from, rows := part.Rows.Of(mb.Index)
	for name, x := range ringBatch() {
		in := m.Input(mb.Slot, name)
		if in.Ints == nil {
			continue
		}
		n, start := in.Shape[1], 0
		if n < ringT {
			start = n * part.Coord[part.Mesh.Index(sequence)]
		}
		for row := range rows {
			copy(in.Ints[row*n:(row+1)*n], x[(from+row)*ringT+start:])
		}
	}
	if in := m.Input(mb.Slot, graph.InputScale); in.Floats != nil {
		in.Floats[0] = 1.0 / (ringB * ringT)
	}
}

// initShard draws a parameter, the same on all ranks.
func initShard(p exec.Param) error {
	whole := make([]float32, p.Shard.Param.Size())
	r := rand.New(rand.NewPCG(uint64(len(p.Shard.Param.Name)), uint64(len(whole))))
	for i := range whole {
		whole[i] = float32(p.Shard.Param.Init.Mean + p.Shard.Param.Init.Std*r.NormFloat64())
	}
	copy(p.Value, cutShard(whole, p.Shard.Param.Shape, p.Shard.Parts))
	return nil
}

// cutShard takes a part out of a whole tensor.
func cutShard(x []float32, shape []int, parts []graph.Part) []float32 {
	if len(shape) == 0 {
		return x
	}
	n, lo, inner := shape[0], 0, len(x)/shape[0]
	if c := parts[0].Count; c > 1 {
		n /= c
		lo = parts[0].Index * n
	}
	var out []float32
	for i := lo; i < lo+n; i++ {
		out = append(out, cutShard(x[i*inner:(i+1)*inner], shape[1:], parts[1:])...)
	}
	return out
}

// TestContextParallel runs a step of models whose sequences lie on the ranks of
// a ring, over the transport, and finds the loss, the gradient's norm and all
// gradients of one device.
func TestContextParallel(t *testing.T) {
	ring := parallel.ContextParallel{}
	for _, bert := range []bool{false, true} {
		whole, err := runRing(t, bert, parallel.Default(), nil, "", 0, comm.Local(1)[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			pp, dp, tp, micro int
			tables            map[string]parallel.Table
			sequence          string
		}{
			{1, 1, 2, 1, map[string]parallel.Table{parallel.AxisTP: ring}, parallel.AxisTP},
			{1, 1, 3, 2, map[string]parallel.Table{parallel.AxisTP: ring}, parallel.AxisTP},
			{1, 1, 4, 1, map[string]parallel.Table{parallel.AxisTP: ring}, parallel.AxisTP},
			{2, 2, 2, 2, map[string]parallel.Table{parallel.AxisDP: parallel.DataParallel{}, parallel.AxisTP: ring}, parallel.AxisTP},
			{1, 4, 2, 2, map[string]parallel.Table{parallel.AxisDP: ring, parallel.AxisTP: splitHeads{}}, parallel.AxisDP},
		} {
			plan := parallel.Default()
			plan.PP, plan.DP, plan.TP, plan.Micro = c.pp, c.dp, c.tp, c.micro
			t.Run(fmt.Sprintf("bert %v, %v, ring over %s", bert, plan, c.sequence), func(t *testing.T) {
				ranks := comm.Local(plan.Mesh().Size())
				steps, errs := make([]*ringStep, len(ranks)), make([]error, len(ranks))
				var all sync.WaitGroup
				for i, transport := range ranks {
					all.Go(func() {
						steps[i], errs[i] = runRing(t, bert, plan, c.tables, c.sequence, i, transport)
						errs[i] = errors.Join(errs[i], transport.Close())
					})
				}
				all.Wait()
				if err := errors.Join(errs...); err != nil {
					t.Fatal(err)
				}
				for i, s := range steps {
					if err := s.compare(whole); err != nil {
						t.Errorf("rank %d: %v", i, err)
					}
				}
			})
		}
	}
}

// compare compares a rank's step with that of one device.
func (s *ringStep) compare(whole *ringStep) error {
	near := func(got, want, scale float64) bool { return math.Abs(got-want) <= 1e-5*scale }
	if got, want := s.stats, whole.stats; !near(got.Loss, want.Loss, want.Loss) || !near(got.GradNorm, want.GradNorm, want.GradNorm) {
		return fmt.Errorf("loss and norm %+v, on one device %+v", got, want)
	}
	for _, name := range slices.Sorted(maps.Keys(s.grads)) {
		i := slices.IndexFunc(s.part.Stage.Params, func(p *graph.Shard) bool { return p.Param.Name == name })
		shard := s.part.Stage.Params[i]
		var most float64
		for _, v := range whole.grads[name] {
			most = max(most, math.Abs(float64(v)))
		}
		for j, want := range cutShard(whole.grads[name], shard.Param.Shape, shard.Parts) {
			if got := s.grads[name][j]; !near(float64(got), float64(want), max(most, 0.1)) {
				return fmt.Errorf("gradient of %s, element %d: %g, on one device %g", name, j, got, want)
			}
		}
	}
	return nil
}
