package parallel

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// toy describes a small model for tests.
type toy struct {
	blocks, batch, seq int
	bert               bool // post-norm, bidirectional, separate q, k, v, masked
	free               bool // without learned positions
	skip               bool // every block takes the embedding again, so it crosses all stages
	dropout            float64
	vocab              int // toyV if 0
	inner              int // toyF if 0
}

// Sizes of the toys: width, heads, width of a head, inner width, vocabulary.
// The heads divide by 2 and 3.
const (
	toyC, toyH, toyD, toyF, toyV = 6, 6, 2, 12, 12
)

// gpt is pre-norm with a tied head, as GPT-2.
func gpt(blocks, batch, seq int) toy { return toy{blocks: blocks, batch: batch, seq: seq} }

// build makes the model in float64.
func (s toy) build(t testing.TB) *graph.Model {
	t.Helper()
	b := graph.NewBuilder(tensor.Float64)
	x, table, rng := s.embed(b)
	embedded := x
	for i := range s.blocks {
		b.Layer(fmt.Sprintf("h.%d", i), "block", fmt.Sprintf("h.%d.", i))
		if s.bert {
			x = s.bertBlock(b, x, rng)
		} else {
			x = s.gptBlock(b, x, rng)
		}
		if s.skip {
			x = b.Apply("skip", graph.Add{}, x, embedded)
		}
		b.EndLayer(x)
	}
	b.Layer("head", "head", "")
	if !s.bert {
		x = toyNorm(b, "ln_f", x)
	}
	logits := b.Logits(b.Apply("lm_head", graph.Linear{Contract: 1, Transposed: true}, x, table))
	targets := b.Input(graph.InputTargets, tensor.Int32, s.batch, s.seq)
	b.Loss(b.Apply("loss", graph.CrossEntropy{}, logits, targets, b.Scalar(graph.InputScale)))
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	s.split(b, m)
	return m
}

func (s toy) words() int { return cmp.Or(s.vocab, toyV) }
func (s toy) width() int { return cmp.Or(s.inner, toyF) }

// split says what tensor parallelism splits.
func (s toy) split(b *graph.Builder, m *graph.Model) {
	for _, p := range m.Params {
		if d, ok := toySplit(p, s.bert); ok {
			b.Split(p.Node, d)
		}
	}
}

func (s toy) embed(b *graph.Builder) (x, table, rng *G.Node) {
	b.Layer("embedding", "embedding", "")
	tokens := b.Input(graph.InputTokens, tensor.Int32, s.batch, s.seq)
	if s.dropout > 0 {
		rng = b.Input(graph.InputRNG, tensor.Int32, graph.RNGWords)
	}
	table = b.Param("wte", graph.Init{}, s.words(), toyC)
	x = b.Apply("wte_lookup", graph.Embedding{}, tokens, table)
	if !s.free {
		x = b.Apply("wpe_add", graph.AddPosition{}, x, b.Param("wpe", graph.Init{}, s.seq+1, toyC))
	}
	if s.bert {
		types := b.Input(graph.InputTokenTypes, tensor.Int32, s.batch, s.seq)
		y := b.Apply("wtt_lookup", graph.Embedding{}, types, b.Param("wtt", graph.Init{}, 2, toyC))
		x = toyNorm(b, "ln", b.Apply("types", graph.Add{}, x, y))
		b.Input(graph.InputMask, tensor.Int32, s.batch, s.seq)
	}
	return b.EndLayer(b.Dropout("drop", s.dropout, x, rng)), table, rng
}

func toyNorm(b *graph.Builder, name string, x *G.Node) *G.Node {
	return b.Apply(name, graph.LayerNorm{Eps: 1e-5}, x, b.Param(name+".w", graph.Init{Mean: 1}, toyC), b.Param(name+".b", graph.Init{}, toyC))
}

func (s toy) gptBlock(b *graph.Builder, x, rng *G.Node) *G.Node {
	qkv := b.Apply("attn", graph.Linear{Contract: 1}, toyNorm(b, "ln_1", x),
		b.Param("attn.w", graph.Init{}, toyC, 3, toyH, toyD), b.Param("attn.b", graph.Init{}, 3, toyH, toyD))
	y := b.Apply("core", graph.Attention{Causal: true, Packed: true}, qkv)
	y = b.Apply("proj", graph.Linear{Contract: 2}, y, b.Param("proj.w", graph.Init{}, toyH, toyD, toyC), b.Param("proj.b", graph.Init{}, toyC))
	x = b.Apply("res_1", graph.Add{}, x, b.Dropout("drop_1", s.dropout, y, rng))
	y = b.Apply("fc", graph.Linear{Contract: 1}, toyNorm(b, "ln_2", x), b.Param("fc.w", graph.Init{}, toyC, s.width()), b.Param("fc.b", graph.Init{}, s.width()))
	y = b.Apply("gelu", graph.Activation{F: graph.GELUTanh}, y)
	y = b.Apply("out", graph.Linear{Contract: 1}, y, b.Param("out.w", graph.Init{}, s.width(), toyC), b.Param("out.b", graph.Init{}, toyC))
	return b.Apply("res_2", graph.Add{}, x, b.Dropout("drop_2", s.dropout, y, rng))
}

func (s toy) bertBlock(b *graph.Builder, x, rng *G.Node) *G.Node {
	m, _ := b.Model()
	mask := m.Input(graph.InputMask).Node
	heads := func(name string) *G.Node {
		return b.Apply(name, graph.Linear{Contract: 1, Transposed: true}, x,
			b.Param(name+".w", graph.Init{}, toyH, toyD, toyC), b.Param(name+".b", graph.Init{}, toyH, toyD))
	}
	y := b.Apply("core", graph.Attention{Masked: true}, heads("q"), heads("k"), heads("v"), mask)
	y = b.Apply("proj", graph.Linear{Contract: 2, Transposed: true}, y, b.Param("proj.w", graph.Init{}, toyC, toyH, toyD), b.Param("proj.b", graph.Init{}, toyC))
	x = toyNorm(b, "ln_1", b.Apply("res_1", graph.Add{}, x, b.Dropout("drop_1", s.dropout, y, rng)))
	y = b.Apply("fc", graph.Linear{Contract: 1, Transposed: true}, x, b.Param("fc.w", graph.Init{}, s.width(), toyC), b.Param("fc.b", graph.Init{}, s.width()))
	y = b.Apply("gelu", graph.Activation{F: graph.GELUErf}, y)
	y = b.Apply("out", graph.Linear{Contract: 1, Transposed: true}, y, b.Param("out.w", graph.Init{}, toyC, s.width()), b.Param("out.b", graph.Init{}, toyC))
	return toyNorm(b, "ln_2", b.Apply("res_2", graph.Add{}, x, b.Dropout("drop_2", s.dropout, y, rng)))
}

// data draws values for the parameters and for the inputs of a batch.
func (s toy) data(t testing.TB, seed uint64) (params, inputs map[string][]float64) {
	r := rand.New(rand.NewPCG(seed, 7))
	m := s.build(t)
	params, inputs = map[string][]float64{}, map[string][]float64{}
	for _, p := range m.Params {
		x := make([]float64, p.Size())
		for i := range x {
			x[i] = p.Init.Mean + 0.5*r.NormFloat64()
		}
		params[p.Name] = x
	}
	for _, in := range m.Inputs {
		inputs[in.Name] = s.draw(r, in)
	}
	return params, inputs
}

func (s toy) draw(r *rand.Rand, in *graph.Input) []float64 {
	x := make([]float64, graph.TypeOf(in.Node).Size())
	for i := range x {
		switch in.Name {
		case graph.InputTokens:
			x[i] = float64(r.IntN(s.words()))
		case graph.InputTargets:
			x[i] = float64(r.IntN(s.words()))
			if r.IntN(4) == 0 {
				x[i] = graph.IgnoreIndex
			}
		case graph.InputTokenTypes:
			x[i] = float64(r.IntN(2))
		case graph.InputMask:
			x[i] = float64(min(1, r.IntN(5)))
		case graph.InputScale:
			x[i] = 1 / float64(s.batch*s.seq)
		case graph.InputRNG:
			x[i] = [graph.RNGWords]float64{11, 12, 3, 0, 1}[i]
		}
	}
	return x
}
