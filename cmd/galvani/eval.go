package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/galvani-ml/galvani/train"
)

// evalCmd is `galvani eval`.
type evalCmd struct {
	Init   string `required:"" placeholder:"DIR" help:"Hugging Face directory, checkpoint, or --out of a run."`
	Data   string `required:"" help:"A text file, a directory, a .bin of little-endian uint16 tokens, or go-std."`
	Labels string `placeholder:"FILE.bin" help:"Targets for data masked beforehand: little-endian int16, -100 = ignored."`
	Batch  int    `default:"8" help:"Sequences at once."`
	Seq    int    `default:"128" help:"Tokens in a sequence."`
	Seed   uint64 `default:"1" help:"Seed of the masks of a masked model."`
	Logits string `placeholder:"FILE.npy" help:"Write the logits of row 0 of the first batch, float32 [T, V]."`
	JSON   bool   `help:"Print the result as JSON."`
}

// Run evaluates.
func (c *evalCmd) Run(ctx context.Context, s *streams) error {
	if c.Batch < 1 || c.Seq < 1 {
		return usageError{fmt.Errorf("--batch %d and --seq %d: must be at least 1", c.Batch, c.Seq)}
	}
	e, err := train.Evaluate(ctx, train.EvalOptions{
		Init: c.Init, Data: c.Data, Labels: c.Labels, Batch: c.Batch, Seq: c.Seq, Seed: c.Seed, Logits: c.Logits,
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(e)
	}
	fmt.Fprintf(s.out, "loss %.4f nats a token over %s tokens\n", e.Loss, humanize.Comma(e.Tokens))
	return nil
}
