package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/galvani-ml/galvani/train"
	"github.com/galvani-ml/galvani/train/sampling"
)

// generateCmd is `galvani generate`.
type generateCmd struct {
	Init        string  `required:"" placeholder:"DIR" help:"Hugging Face directory, checkpoint, or --out of a run."`
	Prompt      string  `help:"Text to continue. Default: the start of a document."`
	Tokens      int     `default:"200" help:"Tokens to generate."`
	Temperature float64 `default:"0.8" help:"Divides the logits; 0 takes the likeliest token."`
	TopK        int     `default:"50" help:"Draw from the K likeliest tokens; 0 for all."`
	TopP        float64 `default:"1" help:"Draw from the likeliest tokens that together have probability P."`
	Seed        uint64  `default:"1" help:"Seed of the draws."`
	JSON        bool    `help:"Print the result as JSON."`
}

// Run generates.
func (c *generateCmd) Run(ctx context.Context, s *streams) error {
	o := sampling.Options{Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, Seed: c.Seed}
	if err := o.Validate(); err != nil {
		return usageError{err}
	}
	if c.Tokens < 0 {
		return usageError{fmt.Errorf("--tokens %d: must not be negative", c.Tokens)}
	}
	g, err := train.OpenGenerator(c.Init)
	if err != nil {
		return err
	}
	defer g.Close()
	if c.JSON {
		text, err := g.Generate(ctx, c.Prompt, c.Tokens, o, nil)
		if err != nil {
			return err
		}
		return json.NewEncoder(s.out).Encode(map[string]string{"prompt": c.Prompt, "text": text})
	}
	fmt.Fprint(s.out, c.Prompt)
	_, err = g.Generate(ctx, c.Prompt, c.Tokens, o, func(text string) { fmt.Fprint(s.out, text) })
	fmt.Fprintln(s.out)
	return err
}
