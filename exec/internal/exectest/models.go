package exectest

import (
	"fmt"
	"math"

	"github.com/galvani-ml/galvani/graph"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Size is the size of a small model, for B sequences of T tokens.
type Size struct {
	B, T, C, H, V, Layers int
	Dropout               float64
}

// Small is a size that runs in milliseconds.
var Small = Size{B: 2, T: 5, C: 12, H: 3, V: 17, Layers: 2}

// GPT is a model in the manner of GPT-2: norms before, one packed product for
// q, k and v, and the embedding's table again as the head. With train unset it
// ends with the logits.
func GPT(z Size, train bool) (*graph.Model, error) {
	b := graph.NewBuilder(tensor.Float32)
	tokens, rng := b.Input(graph.InputTokens, tensor.Int32, z.B, z.T), dropoutState(b, z)

	b.Layer("embedding", "embedding", "")
	wte := b.Param("wte", graph.Init{}, z.V, z.C)
	wpe := b.Param("wpe", graph.Init{}, z.T+3, z.C)
	x := b.Apply("wte", graph.Embedding{}, tokens, wte)
	x = b.Apply("wpe", graph.AddPosition{}, x, wpe)
	x = b.EndLayer(b.Dropout("drop", z.Dropout, x, rng))

	D := z.C / z.H
	for i := range z.Layers {
		b.Layer(fmt.Sprintf("h.%d", i), "block", fmt.Sprintf("h.%d.", i))
		y := norm(b, "ln_1", x, z.C)
		y = linear(b, "c_attn", y, graph.Linear{Contract: 1}, z.C, 3, z.H, D)
		y = b.Apply("attn", graph.Attention{Causal: true, Packed: true}, y)
		y = linear(b, "c_proj", y, graph.Linear{Contract: 2}, z.H, D, z.C)
		x = b.Apply("res_1", graph.Add{}, x, b.Dropout("drop_1", z.Dropout, y, rng))
		y = norm(b, "ln_2", x, z.C)
		y = linear(b, "fc", y, graph.Linear{Contract: 1}, z.C, 4*z.C)
		y = b.Apply("gelu", graph.Activation{F: graph.GELUTanh}, y)
		y = linear(b, "proj", y, graph.Linear{Contract: 1}, 4*z.C, z.C)
		x = b.EndLayer(b.Apply("res_2", graph.Add{}, x, b.Dropout("drop_2", z.Dropout, y, rng)))
	}

	b.Layer("head", "head", "")
	x = norm(b, "ln_f", x, z.C)
	logits := b.Logits(b.Apply("lm_head", graph.Linear{Contract: 1, Transposed: true}, x, wte))
	if train {
		loss(b, z, logits)
	}
	return b.Model()
}

// BERT is a model in the manner of BERT: norms after, separate products for q,
// k and v with weights stored transposed, a mask and token types.
func BERT(z Size, train bool) (*graph.Model, error) {
	b := graph.NewBuilder(tensor.Float32)
	tokens, rng := b.Input(graph.InputTokens, tensor.Int32, z.B, z.T), dropoutState(b, z)
	types := b.Input(graph.InputTokenTypes, tensor.Int32, z.B, z.T)
	mask := b.Input(graph.InputMask, tensor.Int32, z.B, z.T)

	b.Layer("embedding", "embedding", "embeddings.")
	x := b.Apply("word", graph.Embedding{}, tokens, b.Param("word", graph.Init{}, z.V, z.C))
	x = b.Apply("position", graph.AddPosition{}, x, b.Param("position", graph.Init{}, z.T, z.C))
	x = b.Apply("sum", graph.Add{}, x, b.Apply("type", graph.Embedding{}, types, b.Param("type", graph.Init{}, 2, z.C)))
	x = b.EndLayer(b.Dropout("drop", z.Dropout, norm(b, "norm", x, z.C), rng))

	D := z.C / z.H
	split, join := graph.Linear{Contract: 1, Transposed: true}, graph.Linear{Contract: 2, Transposed: true}
	for i := range z.Layers {
		b.Layer(fmt.Sprintf("layer.%d", i), "block", fmt.Sprintf("layer.%d.", i))
		q := linear(b, "query", x, split, z.H, D, z.C)
		k := linear(b, "key", x, split, z.H, D, z.C)
		v := linear(b, "value", x, split, z.H, D, z.C)
		y := b.Apply("attn", graph.Attention{Masked: true}, q, k, v, mask)
		y = b.Dropout("drop_1", z.Dropout, linear(b, "dense", y, join, z.C, z.H, D), rng)
		x = norm(b, "norm_1", b.Apply("res_1", graph.Add{}, y, x), z.C)
		y = linear(b, "intermediate", x, split, 4*z.C, z.C)
		y = b.Apply("gelu", graph.Activation{F: graph.GELUErf}, y)
		y = b.Dropout("drop_2", z.Dropout, linear(b, "output", y, split, z.C, 4*z.C), rng)
		x = b.EndLayer(norm(b, "norm_2", b.Apply("res_2", graph.Add{}, y, x), z.C))
	}

	b.Layer("head", "head", "head.")
	logits := b.Logits(linear(b, "decoder", x, split, z.V, z.C))
	if train {
		loss(b, z, logits)
	}
	return b.Model()
}

// Decoder is GPT for generation: T new tokens after those in caches of size S.
// Its parameters have GPT's names.
func Decoder(z Size, S int) (*graph.Model, error) {
	b := graph.NewBuilder(tensor.Float32)
	tokens := b.Input(graph.InputTokens, tensor.Int32, z.B, z.T)
	start := b.Input(graph.InputStart, tensor.Int32, 1)

	b.Layer("embedding", "embedding", "")
	wte := b.Param("wte", graph.Init{}, z.V, z.C)
	wpe := b.Param("wpe", graph.Init{}, S+3, z.C)
	x := b.Apply("wte", graph.Embedding{}, tokens, wte)
	x = b.EndLayer(b.Apply("wpe", graph.AddPosition{}, x, wpe, start))
	D := z.C / z.H
	for i := range z.Layers {
		b.Layer(fmt.Sprintf("h.%d", i), "block", fmt.Sprintf("h.%d.", i))
		y := norm(b, "ln_1", x, z.C)
		y = linear(b, "c_attn", y, graph.Linear{Contract: 1}, z.C, 3, z.H, D)
		keys, values := b.State("keys", z.B, S, z.H, D), b.State("values", z.B, S, z.H, D)
		y = b.Apply("attn", graph.CachedAttention{}, y, keys.Node, values.Node, start)
		keys.Next, values.Next = b.Side(y, 0), b.Side(y, 1)
		y = linear(b, "c_proj", y, graph.Linear{Contract: 2}, z.H, D, z.C)
		x = b.Apply("res_1", graph.Add{}, x, y)
		y = norm(b, "ln_2", x, z.C)
		y = linear(b, "fc", y, graph.Linear{Contract: 1}, z.C, 4*z.C)
		y = b.Apply("gelu", graph.Activation{F: graph.GELUTanh}, y)
		y = linear(b, "proj", y, graph.Linear{Contract: 1}, 4*z.C, z.C)
		x = b.EndLayer(b.Apply("res_2", graph.Add{}, x, y))
	}
	b.Layer("head", "head", "")
	b.Logits(b.Apply("lm_head", graph.Linear{Contract: 1, Transposed: true}, norm(b, "ln_f", x, z.C), wte))
	return b.Model()
}

func dropoutState(b *graph.Builder, z Size) *G.Node {
	if z.Dropout == 0 {
		return nil
	}
	return b.Input(graph.InputRNG, tensor.Int32, graph.RNGWords)
}

func norm(b *graph.Builder, name string, x *G.Node, width int) *G.Node {
	gamma := b.Param(name+".weight", graph.Init{Mean: 1}, width)
	beta := b.Param(name+".bias", graph.Init{}, width)
	return b.Apply(name, graph.LayerNorm{Eps: 1e-5}, x, gamma, beta)
}

// linear adds a product with a weight of the given shape, and its bias.
func linear(b *graph.Builder, name string, x *G.Node, s graph.Linear, shape ...int) *G.Node {
	free := shape[s.Contract:]
	if s.Transposed {
		free = shape[:len(shape)-s.Contract]
	}
	weight := b.Param(name+".weight", graph.Init{Std: 1 / math.Sqrt(float64(shape[0]))}, shape...)
	bias := b.Param(name+".bias", graph.Init{}, free...)
	return b.Apply(name, s, x, weight, bias)
}

func loss(b *graph.Builder, z Size, logits *G.Node) {
	targets := b.Input(graph.InputTargets, tensor.Int32, z.B, z.T)
	b.Loss(b.Apply("loss", graph.CrossEntropy{}, logits, targets, b.Scalar(graph.InputScale)))
}
