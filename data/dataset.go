package data

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"sync"
)

// Dataset gives the batches of a training run. Its methods may be called from several goroutines.
type Dataset struct {
	options Options
	tokens  *Tokens
	labels  *Tokens // nil without a file of labels
	train   span
	val     span
	order   sampler
	masker  *masker   // nil where nothing is hidden here
	scratch sync.Pool // of *[]int32, [2, T]
}

// Open opens a dataset, tokenizing its source first where that is text and not in the cache. Close it
// after use. Errors are a [*CorruptError], a [*ShortError] or an [*IDError] where the files are at fault.
func Open(ctx context.Context, o Options) (*Dataset, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Dataset{options: o}
	d.scratch.New = func() any { s := make([]int32, 2*o.Seq); return &s }
	if err := d.open(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Dataset) open(ctx context.Context) (err error) {
	o := d.options
	if o.masks() {
		if d.masker, err = newMasker(o.Seed, o.MaskID, o.VocabSize, o.SpecialIDs); err != nil {
			return err
		}
	}
	if d.tokens, err = openSource(ctx, o); err != nil {
		return err
	}
	if o.Labels != "" {
		if d.labels, err = openRaw(o.Labels, int16s); err != nil {
			return err
		}
		if got, want := d.labels.Len(), d.tokens.Len(); got != want {
			return fmt.Errorf("data: %s: has %d labels for the %d tokens of %s; want one for each", o.Labels, got, want, d.tokens.Path())
		}
	}
	if err := d.split(); err != nil {
		return err
	}
	if o.VocabSize > 0 && !o.Trusted {
		return d.Validate(o.VocabSize)
	}
	return nil
}

func openSource(ctx context.Context, o Options) (*Tokens, error) {
	if isTokenPath(o.Source) {
		return OpenTokens(o.Source)
	}
	c, err := OpenCorpus(ctx, o.Source)
	if err != nil {
		return nil, err
	}
	if o.Tokenizer == nil {
		return nil, fmt.Errorf("data: %s: text needs a tokenizer", o.Source)
	}
	return Tokenize(ctx, c, o.Tokenizer, o.CacheDir)
}

// split divides the tokens between training and validation and lays out the order of the former.
func (d *Dataset) split() error {
	o, n := d.options, d.tokens.Len()
	val := int(float64(n) * max(0, o.ValFraction))
	if o.ValFraction == 0 {
		val = d.defaultValidation(n)
	}
	d.train, d.val = span{0, n - val}, span{n - val, val}
	if d.train.count < o.need() {
		return &ShortError{d.tokens.Path(), o.need(), d.train.count, o.Batch, o.Seq}
	}
	if o.Order == Sequential {
		d.order = sequential{d.train, o.Batch, o.Seq, d.StepsPerEpoch()}
	} else {
		d.order = newShuffled(d.train, o.Batch, o.Seq, o.extra(), o.Seed)
	}
	return nil
}

func (d *Dataset) defaultValidation(n int) int {
	const most = 1_000_000
	o, val := d.options, min(n/10, most)
	raw := filepath.Ext(d.tokens.Path()) == ".bin"
	if raw && o.Order == Sequential || n-val < o.need() || val < o.Seq+o.extra() {
		return 0
	}
	return val
}

// Close releases the files.
func (d *Dataset) Close() error {
	var errs []error
	for _, t := range []*Tokens{d.tokens, d.labels} {
		if t != nil {
			errs = append(errs, t.Close())
		}
	}
	return errors.Join(errs...)
}

// TokensPath is the file of tokens behind the dataset. As the Source of the same options it gives another
// process the same batches without the text.
func (d *Dataset) TokensPath() string { return d.tokens.Path() }

// TrainTokens and ValTokens are the numbers of tokens on either side of the split.
func (d *Dataset) TrainTokens() int { return d.train.count }

// ValTokens is the number of tokens kept for validation, 0 where there are none.
func (d *Dataset) ValTokens() int { return d.val.count }

// StepsPerEpoch is the number of whole batches in the training tokens.
func (d *Dataset) StepsPerEpoch() int {
	return d.train.windows(d.options.Seq, d.options.extra()) / d.options.Batch
}

// Validate checks every token and label against a model's vocabulary. The error is an [*IDError].
func (d *Dataset) Validate(vocabSize int) error {
	if err := d.tokens.Validate(vocabSize); err != nil || d.labels == nil {
		return err
	}
	return d.labels.Validate(vocabSize)
}

// UnigramEntropy is the entropy of the training tokens in nats: the loss of the best model that knows
// only how frequent each token is. It reads all of them.
func (d *Dataset) UnigramEntropy() float64 {
	counts := map[int32]int{}
	for ids := range d.tokens.chunks(d.train.from, d.train.from+d.train.count) {
		for _, id := range ids {
			counts[id]++
		}
	}
	entropy, total := 0.0, float64(d.train.count)
	for _, id := range slices.Sorted(maps.Keys(counts)) { // in a fixed order, for the same bits each time
		p := float64(counts[id]) / total
		entropy -= p * math.Log(p)
	}
	return entropy
}
