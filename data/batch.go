package data

import (
	"errors"
	"fmt"
)

// ErrNoTargets is wrapped by the error of a batch in which every target is [Ignored]: its mean loss is
// not defined.
var ErrNoTargets = errors.New("batch has no targets")

// Batch is what one step reads.
type Batch struct {
	Inputs  []int32 // [B, T]
	Targets []int32 // [B, T], Ignored where there is none
	Count   int     // targets that are not Ignored
}

// Batch returns the batch of a training step, counted from 0.
func (d *Dataset) Batch(step int) (Batch, error) { return d.whole(step, d.Fill) }

// ValBatch returns validation batch i of [Dataset.ValBatches].
func (d *Dataset) ValBatch(i int) (Batch, error) { return d.whole(i, d.FillVal) }

func (d *Dataset) whole(index int, fill func(index, lo, hi int, inputs, targets []int32) (int, error)) (Batch, error) {
	n := d.options.Batch * d.options.Seq
	b := Batch{Inputs: make([]int32, n), Targets: make([]int32, n)}
	var err error
	b.Count, err = fill(index, 0, d.options.Batch, b.Inputs, b.Targets)
	return b, err
}

// Fill writes rows [lo, hi) of the batch of a training step, counted from 0, to inputs and targets, both
// [hi-lo, T]. It returns the number of targets in the whole batch, which every worker divides its sum of
// losses by. It does not allocate.
func (d *Dataset) Fill(step, lo, hi int, inputs, targets []int32) (count int, err error) {
	if err := d.checkRows(step, lo, hi, inputs, targets); err != nil {
		return 0, err
	}
	for row := range d.options.Batch {
		count += d.trainRow(step, row, lo, hi, inputs, targets)
	}
	if count == 0 {
		return 0, fmt.Errorf("data: %s: step %d: %w", d.TokensPath(), step, ErrNoTargets)
	}
	return count, nil
}

// trainRow writes a row, where it is in [lo, hi), and counts its targets.
func (d *Dataset) trainRow(step, row, lo, hi int, inputs, targets []int32) int {
	in, out, spare := d.slices(row, lo, hi, inputs, targets)
	if in == nil {
		return d.options.Seq
	}
	defer d.release(spare)
	return d.read(d.order.start(step, row), forMask, step, row, in, out)
}

// ValBatches is the number of validation batches, 0 without validation data.
func (d *Dataset) ValBatches() int {
	return (d.valRows() + d.options.Batch - 1) / d.options.Batch
}

// valRows is the number of windows that validation reads.
func (d *Dataset) valRows() int {
	o := d.options
	return min(d.val.windows(o.Seq, o.extra()), o.ValBatches*o.Batch)
}

// FillVal is Fill for validation batch i of [Dataset.ValBatches]. The batches are the same each time.
// They are windows spread evenly over the validation data; rows beyond the last have no targets.
func (d *Dataset) FillVal(i, lo, hi int, inputs, targets []int32) (count int, err error) {
	if err := d.checkRows(i, lo, hi, inputs, targets); err != nil {
		return 0, err
	}
	if i >= d.ValBatches() {
		return 0, fmt.Errorf("data: %s: validation batch %d of %d does not exist", d.TokensPath(), i, d.ValBatches())
	}
	for row := range d.options.Batch {
		count += d.valRow(i, row, lo, hi, inputs, targets)
	}
	if count == 0 {
		return 0, fmt.Errorf("data: %s: validation batch %d: %w", d.TokensPath(), i, ErrNoTargets)
	}
	return count, nil
}

func (d *Dataset) valRow(i, row, lo, hi int, inputs, targets []int32) int {
	o, rows := d.options, d.valRows()
	k := i*o.Batch + row
	in, out, spare := d.slices(row, lo, hi, inputs, targets)
	defer d.release(spare)
	switch {
	case k >= rows:
		return d.readNothing(in, out)
	case in == nil:
		return o.Seq
	}
	window := k * d.val.windows(o.Seq, o.extra()) / rows
	return d.read(d.val.from+window*o.Seq, forValidationMask, i, row, in, out)
}

// readNothing fills a row that has no targets.
func (d *Dataset) readNothing(in, out []int32) int {
	d.tokens.Copy(in, d.val.from)
	for i := range out {
		out[i] = Ignored
	}
	return 0
}

// slices returns where a row goes. A row outside [lo, hi) goes to spare memory, to be released, so that
// its targets are counted; where they need no counting, because all are targets, in and out are nil.
func (d *Dataset) slices(row, lo, hi int, inputs, targets []int32) (in, out []int32, spare *[]int32) {
	t := d.options.Seq
	if lo <= row && row < hi {
		from := (row - lo) * t
		return inputs[from : from+t], targets[from : from+t], nil
	}
	if d.options.Objective == Causal {
		return nil, nil, nil
	}
	spare = d.scratch.Get().(*[]int32)
	return (*spare)[:t], (*spare)[t:], spare
}

func (d *Dataset) release(spare *[]int32) {
	if spare != nil {
		d.scratch.Put(spare)
	}
}

// read fills one window that starts at token `from` and returns the number of its targets.
func (d *Dataset) read(from int, purpose uint64, step, row int, in, out []int32) int {
	d.tokens.Copy(in, from)
	switch {
	case d.options.Objective == Causal:
		d.tokens.Copy(out, from+1)
		return len(out)
	case d.masker != nil:
		return d.masker.apply(purpose, step, row, in, out)
	}
	d.labels.Copy(out, from)
	count := 0
	for _, label := range out {
		if label != Ignored {
			count++
		}
	}
	return count
}

func (d *Dataset) checkRows(index, lo, hi int, inputs, targets []int32) error {
	if index < 0 || lo < 0 || lo > hi || hi > d.options.Batch {
		return fmt.Errorf("data: step %d, rows %d to %d: want a step from 0 and rows within 0 to %d", index, lo, hi, d.options.Batch)
	}
	if want := (hi - lo) * d.options.Seq; len(inputs) != want || len(targets) != want {
		return fmt.Errorf("data: step %d, rows %d to %d: inputs hold %d and targets %d elements, want %d", index, lo, hi, len(inputs), len(targets), want)
	}
	return nil
}
