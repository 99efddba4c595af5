package data

import (
	"errors"
	"fmt"

	"github.com/galvani-ml/galvani/data/tokenizer"
)

// Objective is what a model learns to predict.
type Objective string

const (
	// Causal predicts the next token: the targets are the inputs, one position further.
	Causal Objective = "causal"
	// Masked predicts hidden tokens at their own position, as BERT does.
	Masked Objective = "masked"
)

// Options say what a [Dataset] holds.
type Options struct {
	// Source is a text file, a directory, [GoStd], a ".bin" of little-endian uint16 tokens, or a token
	// file ([Dataset.TokensPath] of another Dataset).
	Source string
	// Labels is a file of little-endian int16, one for each token of Source, with -100 where there is no
	// target. It belongs to tokens masked beforehand, so only the masked objective takes it.
	Labels string
	// Tokenizer is needed where Source is text.
	Tokenizer tokenizer.Tokenizer
	// Order is Random where it is empty.
	Order Order
	// Objective is Causal where it is empty.
	Objective Objective
	// Seed decides the random order and the masks.
	Seed uint64
	// Batch and Seq are B and T.
	Batch, Seq int
	// ValFraction is the part of the tokens, from the end, kept for validation. Zero means the default:
	// a tenth, at most a million tokens, and none where a ".bin" is read in sequential order or the rest
	// would be too short for a batch. A negative value means none.
	ValFraction float64
	// ValBatches is the most validation batches; 0 means 20.
	ValBatches int
	// VocabSize is the model's V. Open checks every id against it unless it is 0. Masking needs it.
	VocabSize int
	// MaskID is what hides a token, and SpecialIDs are never hidden. Only for masking.
	MaskID     int
	SpecialIDs []int
	// CacheDir holds token files; empty means the user's cache directory.
	CacheDir string
	// Trusted skips the check of the ids, for workers: the coordinator has done it.
	Trusted bool
}

// withDefaults fills in what is empty and checks the rest.
func (o Options) withDefaults() (Options, error) {
	if o.Order == "" {
		o.Order = Random
	}
	if o.Objective == "" {
		o.Objective = Causal
	}
	if o.ValBatches == 0 {
		o.ValBatches = 20
	}
	return o, errors.Join(o.checkNames(), o.checkNumbers())
}

func (o Options) checkNames() error {
	switch {
	case o.Source == "":
		return errors.New("data: no source: name a text file, a directory, a .bin of tokens, or " + GoStd)
	case o.Order != Random && o.Order != Sequential:
		return fmt.Errorf("data: order %q: want %s or %s", o.Order, Random, Sequential)
	case o.Objective != Causal && o.Objective != Masked:
		return fmt.Errorf("data: objective %q: want %s or %s", o.Objective, Causal, Masked)
	case o.Labels != "" && o.Objective == Causal:
		return fmt.Errorf("data: %s: labels belong to a masked model; a causal model's targets are the tokens themselves", o.Labels)
	}
	return nil
}

func (o Options) checkNumbers() error {
	switch {
	case o.Batch < 1 || o.Seq < 1:
		return fmt.Errorf("data: batch %d and sequence length %d must be at least 1", o.Batch, o.Seq)
	case !(o.ValFraction < 1):
		return fmt.Errorf("data: validation fraction %v must be under 1", o.ValFraction)
	case o.ValBatches < 0 || o.VocabSize < 0:
		return fmt.Errorf("data: validation batches %d and vocabulary %d must not be negative", o.ValBatches, o.VocabSize)
	case o.masks() && o.VocabSize == 0:
		return errors.New("data: masking needs the size of the vocabulary")
	}
	return nil
}

// masks says whether tokens are hidden here, not beforehand.
func (o Options) masks() bool { return o.Objective == Masked && o.Labels == "" }

// extra is how many tokens after a window its targets need.
func (o Options) extra() int {
	if o.Objective == Causal {
		return 1
	}
	return 0
}

// need is the fewest training tokens that make a batch.
func (o Options) need() int {
	if o.Order == Sequential {
		return o.Batch*o.Seq + o.extra()
	}
	return o.Seq + o.extra()
}
