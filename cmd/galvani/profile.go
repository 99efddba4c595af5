package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/galvani-ml/galvani/comm"
	"github.com/galvani-ml/galvani/train"
	"github.com/galvani-ml/galvani/train/profile"
)

// profileCmd is `galvani profile`.
type profileCmd struct {
	Workers     int           `default:"2" help:"Worker processes on this machine, which share its threads."`
	Collectives string        `default:"auto" enum:"auto,nats,tcp,shm" help:"Data plane that carries exchanges: ${enum}. auto takes the best that works, as train does."`
	NATS        string        `name:"nats" env:"GALVANI_NATS" placeholder:"URL" help:"NATS server. Default: one in this process."`
	Largest     train.Size    `default:"16MiB" help:"Largest exchange, from 1KiB in steps of 4 times; stops before where one takes over 100 ms."`
	Window      time.Duration `default:"60ms" help:"How long each figure is measured, about."`
	Fresh       bool          `help:"Measure anew even where a result is kept of this machine with these flags."`
	Out         string        `placeholder:"FILE" help:"Write the result in JSON to a file, too; --cluster FILE of other commands takes it."`
	Model       string        `placeholder:"PRESET" help:"Measure the layers of a model instead: ${presets}. Seconds of the embedding, a block and the head, forward and backward, by how they are split and by sequences of a worker."`
	Init        string        `placeholder:"DIR" help:"The same of the model of a Hugging Face directory or a checkpoint."`
	Vocab       int           `default:"2048" help:"Vocabulary of --model; 0 for the preset's own."`
	Seq         int           `default:"128" help:"Tokens in a sequence of the model."`
	Batch       int           `default:"16" help:"Sequences a step, over all workers: the most that one worker is measured with."`
	Precision   string        `default:"fp32" enum:"fp32,bf16" help:"Of the model's products by parameters: ${enum}."`
	JSON        bool          `help:"Print the result as one JSON object: bytes, seconds, floating-point operations a second."`
}

// Help tells what is measured.
func (*profileCmd) Help() string {
	return "Exchanges: the tensor's size (before a reduction, after a gather), the median time of the slowest worker, the size over that time, " +
		"and the spread (interquartile range over the median); all groups of a number of ranks and a stride at the same time. " +
		"Operations and memory: while all workers compute. The result is kept in the user's cache."
}

// Run measures.
func (c *profileCmd) Run(ctx context.Context, s *streams) error {
	if c.Workers < 1 { // 0 stands for the default there
		return usageError{fmt.Errorf("profile: --workers %d: must be at least 1", c.Workers)}
	}
	if c.Model != "" || c.Init != "" {
		return train.ProfileLayers(ctx, train.PlanOptions{
			Model: c.Model, Init: c.Init, Vocab: c.Vocab, Seq: c.Seq, Batch: c.Batch, Precision: c.Precision, Workers: c.Workers,
		}, c.Fresh, c.Out, s.output(c.JSON))
	}
	r, err := profile.Hardware(ctx, profile.Options{
		Workers: c.Workers, Plane: comm.Plane(c.Collectives), NATS: c.NATS, Largest: int64(c.Largest), Window: c.Window, Fresh: c.Fresh, Version: version(),
		Say: func(name, text string) { fmt.Fprintf(s.errs, "%-11s %s\n", name, text) },
	})
	if err != nil {
		return err
	}
	if c.Out != "" {
		if err := profile.Save(c.Out, r.Cluster); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(r.Cluster)
	}
	return r.Write(s.out)
}
