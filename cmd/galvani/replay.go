package main

import (
	"context"

	"github.com/galvani-ml/galvani/train"
)

// replayCmd is `galvani replay`.
type replayCmd struct {
	File    string `arg:"" help:"record-step-N-rank-R.galvani, which train --record-step N writes."`
	Threads int    `placeholder:"N" help:"Threads; they change no bit. Default: one for each processor."`
	JSON    bool   `help:"Print the result as JSON."`
}

// Run replays. It fails where a bit differs.
func (c *replayCmd) Run(ctx context.Context, s *streams) error {
	r, err := train.Replay(ctx, c.File, train.ReplayOptions{Threads: c.Threads, Version: version()})
	if err != nil {
		return err
	}
	if err := r.Write(s.out, c.JSON); err != nil {
		return err
	}
	return r.Err()
}
