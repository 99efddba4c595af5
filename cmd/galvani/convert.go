package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/galvani-ml/galvani/train"
)

// convertCmd is `galvani convert`.
type convertCmd struct {
	From string `arg:"" help:"Checkpoint, --out of a run, or Hugging Face directory."`
	To   string `arg:"" help:"Hugging Face directory to write; train --init takes it back."`
	JSON bool   `help:"Print the result as JSON."`
}

// Run converts.
func (c *convertCmd) Run(ctx context.Context, s *streams) error {
	r, err := train.Convert(ctx, c.From, c.To)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(r)
	}
	fmt.Fprintf(s.out, "%s: %d tensors from %s; %d logits compared, all equal\n", r.To, r.Tensors, r.From, r.Logits)
	return nil
}
