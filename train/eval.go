package train

import (
	"context"
	"errors"
	"fmt"

	"github.com/galvani-ml/galvani/data"
	"github.com/galvani-ml/galvani/data/tokenizer"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/cpu"
	"github.com/galvani-ml/galvani/graph"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/models/hf"
)

// EvalOptions say what to evaluate on what.
type EvalOptions struct {
	Init       string // Hugging Face directory, checkpoint, or run
	Data       string // as Config.Data
	Labels     string // as Config.Labels
	Batch, Seq int
	Logits     string // .npy file for the logits of row 0 of the first batch; empty for none
	Seed       uint64 // of the masks of a masked model
}

// Evaluation is the loss of a model on data.
type Evaluation struct {
	Loss   float64 `json:"loss"`   // mean over all targets, in nats
	Tokens int64   `json:"tokens"` // targets
}

// Evaluate computes the mean loss over all whole windows of Seq tokens, in
// order.
func Evaluate(ctx context.Context, o EvalOptions) (_ *Evaluation, err error) {
	path, err := modelDir(o.Init)
	if err != nil {
		return nil, err
	}
	dir, err := hf.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	rows, err := openRows(ctx, dir.Config, path, o)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	backend, err := cpu.New(0)
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	machine, err := evalMachine(dir, backend, o)
	if err != nil {
		return nil, err
	}
	defer machine.Close()
	return evaluate(ctx, machine, rows, dir.Config.Vocab(), o)
}

// openRows opens the data one window at a time, so that the last batch may be
// incomplete.
func openRows(ctx context.Context, cfg models.Config, path string, o EvalOptions) (*data.Dataset, error) {
	var t tokenizer.Tokenizer
	if !isTokens(o.Data) || masked(cfg) && o.Labels == "" {
		var err error
		if t, err = tokenizer.Load(path); err != nil {
			return nil, fmt.Errorf("--data %s: %w", o.Data, err)
		}
	}
	do, err := dataOptions(cfg, t, o.Data, o.Labels)
	if err != nil {
		return nil, err
	}
	do.Order, do.Seed, do.Batch, do.Seq, do.ValFraction = data.Sequential, o.Seed, 1, o.Seq, -1
	return data.Open(ctx, do)
}

// evalMachine compiles the forward pass and loads the parameters.
func evalMachine(dir *hf.Dir, b exec.Backend, o EvalOptions) (*exec.Machine, error) {
	model, err := models.Build(dir.Config, models.Options{Batch: o.Batch, Seq: o.Seq, Train: true})
	if err != nil {
		return nil, err
	}
	if err := dir.Check(model); err != nil {
		return nil, err
	}
	return forwardMachine(dir, b, model)
}

func evaluate(ctx context.Context, m *exec.Machine, rows *data.Dataset, vocab int, o EvalOptions) (*Evaluation, error) {
	tokens, targets := m.Input(0, graph.InputTokens).Ints, m.Input(0, graph.InputTargets).Ints
	m.Input(0, graph.InputScale).Floats[0] = 1
	windows := rows.StepsPerEpoch()
	var sum float64
	e := &Evaluation{}
	for first := 0; first < windows; first += o.Batch {
		for b := range o.Batch {
			in, out := tokens[b*o.Seq:(b+1)*o.Seq], targets[b*o.Seq:(b+1)*o.Seq]
			n, err := fillRow(rows, first+b, windows, in, out)
			if err != nil {
				return nil, err
			}
			e.Tokens += int64(n)
		}
		if err := m.Forward(ctx, exec.MicroBatch{Step: first / o.Batch}); err != nil {
			return nil, err
		}
		sum += float64(m.Loss(0))
		if first == 0 && o.Logits != "" {
			if err := writeNPY(o.Logits, m.Logits(0)[:o.Seq*vocab], o.Seq, vocab); err != nil {
				return nil, fmt.Errorf("--logits: %w", err)
			}
		}
	}
	if e.Tokens == 0 {
		return nil, fmt.Errorf("--labels %s: no position has a target", o.Labels)
	}
	e.Loss = sum / float64(e.Tokens)
	return e, nil
}

// fillRow reads one window; past the last, and where a window has no targets,
// nothing counts.
func fillRow(rows *data.Dataset, row, windows int, in, out []int32) (int, error) {
	if row < windows {
		n, err := rows.Fill(row, 0, 1, in, out)
		if !errors.Is(err, data.ErrNoTargets) {
			return n, err
		}
	}
	for i := range out {
		out[i] = data.Ignored
	}
	return 0, nil
}
