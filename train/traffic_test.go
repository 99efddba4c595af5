package train

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/train/program"
)

// This file counts what the ranks send in a step and compares it with closed
// formulas, byte for byte.

// traffic is float32 elements by what they are sent for.
type traffic map[string]int

// Kinds of traffic. What all ranks agree on at a step's end, its norm and loss,
// is 128 bytes a rank and told apart.
const (
	sends    = "send"
	reduces  = "all-reduce"
	scatters = "reduce-scatter"
	gathers  = "all-gather"
	swaps    = "all-to-all"
	rotates  = "rotate"
	norm     = "norm and loss"
)

// tally counts what a rank sends.
type tally struct {
	comm.Transport
	mu   sync.Mutex
	sent traffic
}

func (c *tally) Send(ctx context.Context, dst int, tag comm.Tag, x []float32) error {
	kind := tag.Op.String()
	switch {
	case tag.Op == comm.OpSend:
		kind = sends
	case tag.Name == "gradient norm and loss":
		kind = norm
	}
	c.mu.Lock()
	c.sent[kind] += len(x)
	c.mu.Unlock()
	return c.Transport.Send(ctx, dst, tag, x)
}

func (c *tally) SendBytes(context.Context, int, comm.Tag, []byte) error {
	return errors.New("a step sends tensors only")
}

// reset returns what was counted, and begins anew.
func (c *tally) reset() traffic {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := c.sent
	c.sent = traffic{}
	return sent
}

// stepTraffic counts what each rank sends in the second step, and checks that
// the first sends the same.
func stepTraffic(t *testing.T, spec *Spec) ([]traffic, error) {
	ranks := comm.Local(spec.Plan.Mesh().Size())
	counted, errs := make([]traffic, len(ranks)), make([]error, len(ranks))
	var all sync.WaitGroup
	for i, transport := range ranks {
		all.Go(func() {
			c := &tally{Transport: transport, sent: traffic{}}
			counted[i], errs[i] = rankTraffic(t, spec, i, c)
			errs[i] = errors.Join(errs[i], transport.Close())
		})
	}
	all.Wait()
	return counted, errors.Join(errs...)
}

func rankTraffic(t *testing.T, spec *Spec, number int, c *tally) (traffic, error) {
	backend, err := cpu.New(spec.Threads)
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	part, compiled, err := compileRank(spec, number, backend)
	if err != nil {
		return nil, err
	}
	w, err := program.NewComm(c, part)
	if err != nil {
		return nil, err
	}
	r, err := newRank(t.Context(), spec, number, part, compiled, w)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var steps [2]traffic
	for step := range steps {
		if _, err := r.step(t.Context(), step); err != nil {
			return nil, err
		}
		steps[step] = c.reset()
	}
	if !maps.Equal(steps[0], steps[1]) {
		return nil, fmt.Errorf("rank %d: the first step sends %v, the second %v", number, steps[0], steps[1])
	}
	return steps[1], nil
}

// shape is what the formulas need of a model and a batch: sequences a step,
// tokens, width, vocabulary, blocks.
type shape struct {
	B, T, C, V, L int
	tied          bool
}

func (s shape) model() models.Config {
	return &models.GPTConfig{
		VocabSize: s.V, NPositions: s.T, NEmbd: s.C, NLayer: s.L, NHead: 12,
		ActivationFunction: "gelu_new", LayerNormEpsilon: 1e-5, InitializerRange: 0.1, TieWordEmbeddings: s.tied,
	}
}

// activation is the elements of a tensor [B, T, C] of the whole batch.
func (s shape) activation() int { return s.B * s.T * s.C }

// params is the number of parameters: two tables, the blocks, the last norm, and
// the head's table where it has one of its own.
func (s shape) params() int {
	n := s.V*s.C + s.T*s.C + s.L*(12*s.C*s.C+13*s.C) + 2*s.C
	if !s.tied {
		n += s.V * s.C
	}
	return n
}

// allReduce is what n ranks together send to sum x elements: each sends its
// parts to the others and its sum on around a ring, 2(n-1)/n of x. Where x to
// each other rank is less than 64 KiB, it sends that.
func allReduce(n, x int) int {
	if 4*x*(n-1) < 64<<10 {
		return n * (n - 1) * x
	}
	return 2 * (n - 1) * x
}

// gather is what n ranks send to gather x elements, or to reduce-scatter them:
// (n-1)/n of x each.
func gather(n, x int) int { return (n - 1) * x }

// traffics are plans for n ranks, and what all ranks together send in a step of
// micro micro-batches under them.
var traffics = []struct {
	plan string // with %d for n
	want func(s shape, n, micro int) traffic
}{
	// Rajbhandari et al.: ZeRO (2020), section 7: data parallelism sums the
	// gradients, which ZeRO-1 splits into a reduce-scatter of gradients and an
	// all-gather of parameters, once a step.
	{"dp=%d", func(s shape, n, _ int) traffic { return traffic{reduces: allReduce(n, s.params())} }},
	{"dp=%d ckpt=all", func(s shape, n, _ int) traffic { return traffic{reduces: allReduce(n, s.params())} }},
	{"dp=%d zero=1", func(s shape, n, _ int) traffic {
		return traffic{scatters: gather(n, s.params()), gathers: gather(n, s.params())}
	}},
	// Gradients that are kept in parts are scattered with every micro-batch.
	{"dp=%d zero=2", func(s shape, n, micro int) traffic {
		return traffic{scatters: micro * gather(n, s.params()), gathers: gather(n, s.params())}
	}},
	// Parameters that are kept in parts are gathered for the forward pass and
	// again for the backward pass of every micro-batch. That reads neither the
	// two tables of the embedding nor what is only added: all biases.
	{"dp=%d zero=3", func(s shape, n, micro int) traffic {
		unread := s.V*s.C + s.T*s.C + s.L*11*s.C + s.C
		return traffic{scatters: micro * gather(n, s.uses()), gathers: micro * gather(n, 2*s.uses()-unread)}
	}},
	// A block that is computed again reads its biases, but for the last one.
	{"dp=%d zero=3 ckpt=all", func(s shape, n, micro int) traffic {
		unread := s.V*s.C + s.T*s.C + s.L*s.C + s.C
		return traffic{scatters: micro * gather(n, s.uses()), gathers: micro * gather(n, 2*s.uses()-unread)}
	}},
	// Shoeybi et al.: Megatron-LM (2019), section 3: two all-reduces a block
	// and pass. The embedding has one forward, the head one backward, where the
	// vocabulary is split; the loss needs a number a part and position.
	{"tp=%d", func(s shape, n, micro int) traffic { return s.tensorParallel(n, micro, 4*s.L+2) }},
	// Computing a block again sums again what its attention gives.
	{"tp=%d ckpt=all", func(s shape, n, micro int) traffic { return s.tensorParallel(n, micro, 5*s.L+2) }},
	// Korthikanti et al. (2022), section 4.2.2: an all-gather and a
	// reduce-scatter in place of each all-reduce.
	{"tp=%d sequence_parallel=on", func(s shape, n, _ int) traffic {
		return s.sequenceParallel(n, 4*s.L+2, 4*s.L+2)
	}},
	{"tp=%d sequence_parallel=on ckpt=all", func(s shape, n, _ int) traffic {
		return s.sequenceParallel(n, 6*s.L+2, 5*s.L+2)
	}},
	// Jacobs et al.: DeepSpeed Ulysses (2023), section 3: of queries, keys,
	// values and the result a rank has 1/n, and sends (n-1)/n of it; in the
	// backward pass their gradients.
	{"sp=%d", func(s shape, n, _ int) traffic { return s.ulysses(n, 2) }},
	{"sp=%d ckpt=all", func(s shape, n, _ int) traffic { return s.ulysses(n, 3) }},
	// Liu et al.: Ring Attention (2023): keys and values go n-1 places around
	// in each pass, and their gradients n places, back to where they belong.
	{"cp=%d", func(s shape, n, _ int) traffic { return s.ring(n, 3*n-2) }},
	{"cp=%d ckpt=all", func(s shape, n, _ int) traffic { return s.ring(n, 4*n-3) }},
	// An activation over each border, and its gradient back. The two stages
	// that hold a tied table sum its gradient.
	{"pp=%d", func(s shape, n, _ int) traffic { return s.pipeline(n, 1) }},
	{"pp=%d schedule=gpipe ckpt=all", func(s shape, n, _ int) traffic { return s.pipeline(n, 1) }},
	// Each stage besides sums the gradients it has over its two ranks.
	{"pp=%d dp=2", func(s shape, n, _ int) traffic {
		w := s.pipeline(n, 2)
		w[reduces] += allReduce(2, s.uses())
		return w
	}},
}

// uses is the number of parameters, a tied table counted in each layer that
// uses it: layers gather it, or hold it, apart.
func (s shape) uses() int {
	s.tied = false
	return s.params()
}

// denominators is what the loss gathers where the vocabulary is split: from each
// rank a number a position.
func (s shape) denominators(n int) int { return gather(n, n*s.B*s.T) }

func (s shape) tensorParallel(n, micro, sums int) traffic {
	return traffic{
		reduces: micro * sums * allReduce(n, s.activation()/micro),
		gathers: s.denominators(n),
	}
}

// sequenceParallel gathers tokens and targets too: whole ones look up a split
// table. And it sums the gradients of what is used on parts of the sequence:
// norms, biases after sums, and positions.
func (s shape) sequenceParallel(n, gathered, scattered int) traffic {
	copied := s.L*6*s.C + 2*s.C + s.T*s.C
	return traffic{
		gathers:  gather(n, gathered*s.activation()+2*s.B*s.T) + s.denominators(n),
		scatters: gather(n, scattered*s.activation()),
		reduces:  allReduce(n, copied),
	}
}

// ulysses is a number of passes over all blocks.
func (s shape) ulysses(n, passes int) traffic {
	return traffic{
		swaps:   s.L * passes * gather(n, 4*s.activation()/n),
		reduces: allReduce(n, s.params()),
	}
}

// ring moves keys and values, or their gradients, as often on every rank.
func (s shape) ring(n, rotations int) traffic {
	return traffic{
		rotates: s.L * rotations * 2 * s.activation(),
		reduces: allReduce(n, s.params()),
	}
}

// pipeline is n stages of some ranks.
func (s shape) pipeline(n, ranks int) traffic {
	w := traffic{sends: 2 * (n - 1) * s.activation()}
	if s.tied {
		w[reduces] = ranks * allReduce(2, s.V*s.C)
	}
	return w
}

// TestTrafficOfAStep compares what is sent in a step with the formulas, for 2 to
// 4 ranks, one or two micro-batches, and tensors that are little and much to
// send.
func TestTrafficOfAStep(t *testing.T) {
	tokens := tinyTokens(t)
	for _, s := range []shape{
		{B: 12, T: 12, C: 48, V: 96, L: 4},
		{B: 12, T: 12, C: 48, V: 96, L: 4, tied: true},
		{B: 12, T: 24, C: 96, V: 48, L: 2},
	} {
		for _, c := range traffics {
			for n := 2; n <= 4; n++ {
				micro := 1 + n%2
				if strings.Contains(c.plan, "pp=") && n > s.L {
					continue
				}
				text := fmt.Sprintf(c.plan+" micro=%d", n, micro)
				if err := checkTraffic(t, s, tokens, text, c.want(s, n, micro)); err != nil {
					t.Errorf("%+v, %s: %v", s, text, err)
				}
			}
		}
	}
}

// checkTraffic counts a step under a plan. Within a stage all ranks send alike.
func checkTraffic(t *testing.T, s shape, tokens, text string, want traffic) error {
	plan, err := parallel.Parse(text)
	if err != nil {
		return err
	}
	spec, err := tinySpec(s.model(), tokens, plan)
	if err != nil {
		return err
	}
	spec.Config.Batch, spec.Data.Batch, spec.Config.Seq, spec.Data.Seq = s.B, s.B, s.T, s.T
	counted, err := stepTraffic(t, spec)
	if err != nil {
		return err
	}
	const message = 32 // elements of norm and loss
	want[norm] = allReduce(len(counted), message)
	sum := traffic{}
	for i, c := range counted {
		for kind, n := range c {
			sum[kind] += n
		}
		if plan.PP == 1 && !maps.Equal(c, counted[0]) {
			return fmt.Errorf("rank %d sends %v, rank 0 %v", i, c, counted[0])
		}
	}
	if !maps.Equal(sum, want) {
		return fmt.Errorf("sent %v, want %v", sum, want)
	}
	return nil
}
