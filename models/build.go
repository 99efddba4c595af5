package models

import (
	"fmt"

	"gorgonia.org/tensor"

	"github.com/galvani-ml/galvani/graph"
)

// Options say for what micro-batch a model is built.
type Options struct {
	Batch int // B
	Seq   int // T
	// Dropout is the probability of dropout on the embedding and on each
	// residual branch; there is none on attention probabilities. Above 0 the
	// graph has the input graph.InputRNG.
	Dropout float64
	// Dtype is the element type, Float32 where zero.
	Dtype tensor.Dtype
	// Train adds the loss, with the inputs graph.InputTargets and
	// graph.InputScale.
	Train bool
	// Mask adds the input graph.InputMask, which hides padding from attention.
	Mask bool
}

// DecodeOptions say for what step of generation a model is built.
type DecodeOptions struct {
	Batch  int // B
	Tokens int // T, new tokens a run
	Cache  int // S, positions the cache holds
	// Head says whether the graph goes on to the logits. Filling the cache with
	// all but the last token of a prompt needs none.
	Head bool
	// Dtype is the element type, Float32 where zero.
	Dtype tensor.Dtype
}

// Build returns the graph of cfg for training or evaluation, with logits
// [B, T, V].
func Build(cfg Config, o Options) (*graph.Model, error) {
	if _, err := checked(cfg); err != nil {
		return nil, err
	}
	o.Dtype = orFloat32(o.Dtype)
	switch {
	case o.Batch < 1 || o.Seq < 1:
		return nil, fmt.Errorf("models: %s: batch %d and sequence length %d must be positive", cfg.Type(), o.Batch, o.Seq)
	case o.Seq > cfg.MaxSeq():
		return nil, fmt.Errorf("models: %s: sequence length %d exceeds the model's %d positions", cfg.Type(), o.Seq, cfg.MaxSeq())
	case !(o.Dropout >= 0 && o.Dropout < 1):
		return nil, fmt.Errorf("models: %s: dropout %g is not in [0, 1)", cfg.Type(), o.Dropout)
	}
	if err := realType(o.Dtype); err != nil {
		return nil, err
	}
	m, err := cfg.build(o)
	if err != nil {
		return nil, fmt.Errorf("models: %s: %w", cfg.Type(), err)
	}
	return m, nil
}

// BuildDecoder returns the graph that runs T new tokens of each sequence after
// those whose keys and values are in the cache: inputs tokens [B, T] and
// graph.InputStart, the position of the first of them; two states a block,
// [B, S, H, D]. Parameters have the names and shapes that Build gives them.
func BuildDecoder(cfg Config, o DecodeOptions) (*graph.Model, error) {
	c, ok := cfg.(*GPTConfig)
	if !ok {
		return nil, fmt.Errorf("models: %s has no decoder: only causal models generate", cfg.Type())
	}
	if _, err := checked(cfg); err != nil {
		return nil, err
	}
	o.Dtype = orFloat32(o.Dtype)
	switch {
	case o.Batch < 1 || o.Tokens < 1:
		return nil, fmt.Errorf("models: %s: batch %d and tokens %d must be positive", cfg.Type(), o.Batch, o.Tokens)
	case o.Tokens > o.Cache:
		return nil, fmt.Errorf("models: %s: %d tokens do not fit a cache of %d", cfg.Type(), o.Tokens, o.Cache)
	case o.Cache > cfg.MaxSeq():
		return nil, fmt.Errorf("models: %s: a cache of %d exceeds the model's %d positions", cfg.Type(), o.Cache, cfg.MaxSeq())
	}
	if err := realType(o.Dtype); err != nil {
		return nil, err
	}
	m, err := c.decoder(o)
	if err != nil {
		return nil, fmt.Errorf("models: %s: %w", cfg.Type(), err)
	}
	return m, nil
}

func orFloat32(d tensor.Dtype) tensor.Dtype {
	if d.Type == nil {
		return tensor.Float32
	}
	return d
}

func realType(d tensor.Dtype) error {
	if d != tensor.Float32 && d != tensor.Float64 {
		return fmt.Errorf("models: element type %v: needs float32 or float64", d)
	}
	return nil
}
