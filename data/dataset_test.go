package data

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func open(t testing.TB, o Options) *Dataset {
	t.Helper()
	d, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestSequential(t *testing.T) {
	const b, seq = 3, 4
	d := open(t, Options{Source: writeBin(t, count(30)...), Order: Sequential, Batch: b, Seq: seq})
	if d.ValTokens() != 0 || d.ValBatches() != 0 || d.TrainTokens() != 30 || d.StepsPerEpoch() != 2 {
		t.Errorf("split %d + %d, %d steps", d.TrainTokens(), d.ValTokens(), d.StepsPerEpoch())
	}
	for step := range 5 {
		batch := must(d.Batch(step))
		if batch.Count != b*seq {
			t.Errorf("step %d: %d targets", step, batch.Count)
		}
		for row := range b {
			for i := range seq {
				o := int32((step%2*b+row)*seq + i)
				if x, y := batch.Inputs[row*seq+i], batch.Targets[row*seq+i]; x != o || y != o+1 {
					t.Fatalf("step %d row %d: input %d target %d, want %d and one more", step, row, x, y, o)
				}
			}
		}
	}
}

func TestSequentialNeedsExactlyOneBatch(t *testing.T) {
	o := Options{Source: writeBin(t, count(13)...), Order: Sequential, Batch: 3, Seq: 4}
	if n := open(t, o).StepsPerEpoch(); n != 1 {
		t.Errorf("%d steps", n)
	}
	o.Source = writeBin(t, count(12)...)
	_, err := Open(t.Context(), o)
	var short *ShortError
	if !errors.As(err, &short) || *short != (ShortError{o.Source, 13, 12, 3, 4}) {
		t.Errorf("error = %v", err)
	}
	o.Objective, o.Labels = Masked, writeBin(t, count(12)...)
	if n := open(t, o).StepsPerEpoch(); n != 1 {
		t.Errorf("labels beside the tokens: %d steps", n)
	}
}

func TestLabels(t *testing.T) {
	labels := []int{-100, 7, -100, -100, 8, 9, -100, -100}
	o := Options{Source: writeBin(t, count(8)...), Labels: writeBin(t, labels...), Objective: Masked, Order: Sequential, Batch: 2, Seq: 2}
	d := open(t, o)
	batch := must(d.Batch(0))
	if want := []int32{-100, 7, -100, -100}; !slices.Equal(batch.Targets, want) || batch.Count != 1 {
		t.Errorf("targets %v, count %d, want %v and 1", batch.Targets, batch.Count, want)
	}
	in, out := make([]int32, 2), make([]int32, 2)
	if n, err := d.Fill(1, 1, 2, in, out); n != 2 || err != nil || !slices.Equal(in, []int32{6, 7}) || !slices.Equal(out, []int32{-100, -100}) {
		t.Errorf("row 1 of step 1: %v %v, %d targets in the batch, %v", in, out, n, err)
	}
	o.Labels = writeBin(t, labels[1:]...)
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "7 labels for the 8 tokens") {
		t.Errorf("error = %v", err)
	}
	o.Labels = writeBin(t, -100, -100, -100, -100, -100, -100, -100, -100)
	if _, err := open(t, o).Batch(0); !errors.Is(err, ErrNoTargets) {
		t.Errorf("error = %v, want ErrNoTargets", err)
	}
	o.Labels, o.VocabSize = writeBin(t, 0, 0, 0, 0, 0, 0, 0, 9), 9
	var bad *IDError
	if _, err := Open(t.Context(), o); !errors.As(err, &bad) || bad.Path != o.Labels || bad.Position != 7 {
		t.Errorf("error = %v", err)
	}
	o.Trusted = true
	open(t, o)
}

// Every worker sees its rows of the batch that one process would see, and the same count.
func TestWorkersSeeTheirRows(t *testing.T) {
	source := writeBin(t, count(2000)...)
	labels := make([]int, 2000)
	for i := range labels {
		labels[i] = []int{Ignored, i}[i%2]
	}
	file := writeBin(t, labels...)
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{
			Source: source, VocabSize: 2000, MaskID: 3, SpecialIDs: []int{5, 7}, // never two in a row
			Order:     rapid.SampledFrom([]Order{Random, Sequential}).Draw(rt, "order"),
			Objective: rapid.SampledFrom([]Objective{Causal, Masked}).Draw(rt, "objective"),
			Seed:      rapid.Uint64().Draw(rt, "seed"),
			Batch:     rapid.IntRange(1, 7).Draw(rt, "batch"), Seq: rapid.IntRange(2, 40).Draw(rt, "seq"),
			ValFraction: 0.2,
		}
		if o.Objective == Masked && rapid.Bool().Draw(rt, "labels") {
			o.Labels = file
		}
		whole, worker := must(Open(t.Context(), o)), must(Open(t.Context(), o))
		defer whole.Close()
		defer worker.Close()
		lo := rapid.IntRange(0, o.Batch).Draw(rt, "lo")
		hi := rapid.IntRange(lo, o.Batch).Draw(rt, "hi")
		in, out := make([]int32, (hi-lo)*o.Seq), make([]int32, (hi-lo)*o.Seq)
		compare := func(what string, batch Batch, n int, err error) {
			targets := 0
			for _, target := range batch.Targets {
				if target != Ignored {
					targets++
				}
			}
			if err != nil || n != batch.Count || n != targets {
				rt.Fatalf("%s: count %d, want %d (%d in the batch), error %v", what, n, batch.Count, targets, err)
			}
			if !slices.Equal(in, batch.Inputs[lo*o.Seq:hi*o.Seq]) || !slices.Equal(out, batch.Targets[lo*o.Seq:hi*o.Seq]) {
				rt.Fatalf("%s: rows %d to %d differ", what, lo, hi)
			}
		}
		step := rapid.IntRange(0, 1_000_000).Draw(rt, "step")
		n, err := worker.Fill(step, lo, hi, in, out)
		compare("train", must(whole.Batch(step)), n, err)
		if k := whole.ValBatches(); k > 0 {
			i := rapid.IntRange(0, k-1).Draw(rt, "validation batch")
			n, err := worker.FillVal(i, lo, hi, in, out)
			compare("validation", must(whole.ValBatch(i)), n, err)
		}
	})
}

func TestTrainingNeverReadsValidation(t *testing.T) {
	d := open(t, Options{Source: writeBin(t, count(1000)...), Batch: 3, Seq: 7, Seed: 1})
	if d.TrainTokens() != 900 || d.ValTokens() != 100 {
		t.Fatalf("split %d + %d", d.TrainTokens(), d.ValTokens())
	}
	for step := range 200 {
		batch := must(d.Batch(step))
		if top := slices.Max(batch.Targets); top >= 900 {
			t.Fatalf("step %d reads token %d", step, top)
		}
	}
	// 14 windows of 7 tokens and a target fit in 100; the last of 5 batches has one row too many.
	seen := map[int32]bool{}
	for i := range d.ValBatches() {
		batch := must(d.ValBatch(i))
		for row := range 3 {
			if batch.Targets[row*7] != Ignored {
				seen[batch.Inputs[row*7]] = true
			}
		}
		if want := min(3, 14-3*i) * 7; batch.Count != want {
			t.Errorf("validation batch %d has %d targets, want %d", i, batch.Count, want)
		}
		if slices.Min(batch.Inputs) < 900 {
			t.Errorf("validation batch %d reads training data", i)
		}
	}
	if len(seen) != 14 {
		t.Errorf("%d validation windows, want 14", len(seen))
	}
}

func TestValidationIsBounded(t *testing.T) {
	d := open(t, Options{Source: writeBin(t, count(10_000)...), Batch: 2, Seq: 5, ValBatches: 4})
	if n := d.ValBatches(); n != 4 {
		t.Fatalf("%d validation batches, want 4", n)
	}
	if first, last := must(d.ValBatch(0)).Inputs[0], must(d.ValBatch(3)).Inputs[5]; first != 9000 || last < 9800 {
		t.Errorf("windows from %d to %d are not spread over 9000 to 9999", first, last)
	}
	in := make([]int32, 10)
	if _, err := d.FillVal(4, 0, 2, in, in); err == nil {
		t.Error("no error for a batch that does not exist")
	}
}

func TestSplitRules(t *testing.T) {
	bin := func(n int) string { return writeBin(t, make([]int, n)...) }
	text := func(n int) string {
		return writeFile(t, filepath.Join(t.TempDir(), "t.txt"), []byte(strings.Repeat("x", n)))
	}
	for name, c := range map[string]struct {
		source   string
		order    Order
		fraction float64
		val      int
	}{
		"a tenth":                       {bin(1000), Random, 0, 100},
		"none in order":                 {bin(1000), Sequential, 0, 0},
		"text in order":                 {text(1000), Sequential, 0, 100},
		"asked for in order":            {bin(1000), Sequential, 0.25, 250},
		"none":                          {bin(1000), Random, -1, 0},
		"rest too short":                {text(41), Sequential, 0, 0},
		"too short to validate":         {bin(50), Random, 0, 0},
		"at most a million":             {bin(11_000_000), Random, 0, 1_000_000},
		"a fraction may be any size":    {bin(4_000_000), Random, 0.5, 2_000_000},
		"a fraction of fewer than none": {bin(1000), Random, math.Inf(-1), 0},
	} {
		d := open(t, Options{
			Source: c.source, Order: c.order, ValFraction: c.fraction, Batch: 4, Seq: 10,
			Tokenizer: bytesBPE(), CacheDir: t.TempDir(),
		})
		if d.ValTokens() != c.val {
			t.Errorf("%s: %d validation tokens, want %d", name, d.ValTokens(), c.val)
		}
	}
}

// A worker that opens the coordinator's token file sees the same batches.
func TestTokensPath(t *testing.T) {
	text := writeFile(t, filepath.Join(t.TempDir(), "t.txt"), []byte(strings.Repeat("some text to learn from. ", 100)))
	for _, order := range []Order{Random, Sequential} {
		o := Options{Source: text, Tokenizer: bytesBPE(), CacheDir: t.TempDir(), Order: order, Batch: 2, Seq: 16, Seed: 3, VocabSize: 256}
		coordinator := open(t, o)
		o.Source, o.Tokenizer, o.Trusted = coordinator.TokensPath(), nil, true
		worker := open(t, o)
		for step := range 50 {
			a, b := must(coordinator.Batch(step)), must(worker.Batch(step))
			if !slices.Equal(a.Inputs, b.Inputs) || !slices.Equal(a.Targets, b.Targets) {
				t.Fatalf("%s: step %d differs", order, step)
			}
		}
		if coordinator.ValBatches() != worker.ValBatches() {
			t.Errorf("%s: validation differs", order)
		}
	}
}

func TestFillDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool allocate")
	}
	for _, objective := range []Objective{Causal, Masked} {
		d := open(t, Options{Source: writeBin(t, count(500)...), Objective: objective, VocabSize: 500, Batch: 4, Seq: 8})
		in, out := make([]int32, 16), make([]int32, 16)
		step := 0
		if n := testing.AllocsPerRun(100, func() {
			_ = must(d.Fill(step, 1, 3, in, out))
			step++
		}); n >= 1 {
			t.Errorf("%s: %v allocations", objective, n)
		}
	}
}

func TestSeedsDiffer(t *testing.T) {
	source := writeBin(t, count(5000)...)
	a := must(open(t, Options{Source: source, Batch: 8, Seq: 8, Seed: 1}).Batch(0))
	b := must(open(t, Options{Source: source, Batch: 8, Seq: 8, Seed: 2}).Batch(0))
	if slices.Equal(a.Inputs, b.Inputs) {
		t.Error("two seeds give the same batch")
	}
}

func TestUnigramEntropy(t *testing.T) {
	d := open(t, Options{Source: writeBin(t, 0, 0, 1, 2, 0, 0, 1, 2), ValFraction: -1, Batch: 1, Seq: 2})
	if got, want := d.UnigramEntropy(), 1.5*math.Ln2; math.Abs(got-want) > 1e-12 {
		t.Errorf("entropy %v nats, want %v", got, want)
	}
}

func TestOpenErrors(t *testing.T) {
	good := Options{Source: writeBin(t, count(100)...), Batch: 2, Seq: 4}
	text := writeFile(t, filepath.Join(t.TempDir(), "t.txt"), []byte("text"))
	for want, change := range map[string]func(*Options){
		"no source":                           func(o *Options) { o.Source = "" },
		"text needs a tokenizer":              func(o *Options) { o.Source = text },
		`order "x": want random or`:           func(o *Options) { o.Order = "x" },
		`objective "x": want causal or`:       func(o *Options) { o.Objective = "x" },
		"batch 0 and sequence":                func(o *Options) { o.Batch = 0 },
		"sequence length -1":                  func(o *Options) { o.Seq = -1 },
		"fraction NaN must be":                func(o *Options) { o.ValFraction = math.NaN() },
		"fraction 1 must be":                  func(o *Options) { o.ValFraction = 1 },
		"must not be negative":                func(o *Options) { o.ValBatches = -1 },
		"masking needs the size":              func(o *Options) { o.Objective = Masked },
		"labels belong to a masked":           func(o *Options) { o.Labels = good.Source },
		"sequence length 100 need 101":        func(o *Options) { o.Seq = 100 },
		"token 50 has id 50, outside":         func(o *Options) { o.VocabSize = 50 },
		"must be inside the vocabulary of 50": func(o *Options) { o.Objective, o.VocabSize, o.MaskID = Masked, 50, 50 },
		"no such file":                        func(o *Options) { o.Objective, o.Labels = Masked, "none.bin" },
	} {
		o := good
		change(&o)
		if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
}

func TestFillErrors(t *testing.T) {
	d := open(t, Options{Source: writeBin(t, count(100)...), Batch: 2, Seq: 4})
	buf := make([]int32, 8)
	for _, c := range []struct{ step, lo, hi, in, out int }{
		{-1, 0, 2, 8, 8}, {0, -1, 1, 8, 8}, {0, 2, 1, 0, 0}, {0, 0, 3, 8, 8}, {0, 0, 2, 7, 8}, {0, 0, 2, 8, 4},
	} {
		if _, err := d.Fill(c.step, c.lo, c.hi, buf[:c.in], buf[:c.out]); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}
