package kernel

import "math"

// IgnoreIndex marks a target that has no loss.
const IgnoreIndex = -100

// lossTask does rows of logits; a nil gradient means the forward pass.
type lossTask struct {
	in      *inner
	d       []float32
	logits  []float32
	lse     []float32
	targets []int32
	vocab   Vocabulary
	ld      int
	scale   float32
}

// CrossEntropy is scale times the sum over rows of -log softmax(logits)[target],
// rows with target [IgnoreIndex] left out. logits is [len(targets), cols] with
// rows of ld elements; columns past cols (a padded vocabulary) do not count.
// It saves the logarithm of each row's softmax denominator in lse. Rows are
// added in their order in float64. A target out of range makes the loss NaN.
func CrossEntropy(p *Pool, lse, logits []float32, targets []int32, cols, ld int, scale float64) float64 {
	LogSumExp(p, lse[:len(targets)], logits, cols, ld)
	return CrossEntropyOf(lse, logits, targets, WholeVocabulary(cols), ld, scale)
}

// LogSumExp sets lse to the logarithm of the sum of exponentials of each row of
// logits [len(lse), cols], whose rows have ld elements.
func LogSumExp(p *Pool, lse, logits []float32, cols, ld int) {
	t := &p.tasks.loss
	*t = lossTask{in: active.Load(), logits: logits, lse: lse, vocab: WholeVocabulary(cols), ld: ld}
	p.run(len(lse), rowGrain(cols), t)
	*t = lossTask{}
}

// JoinLogSumExp sets lse to the logarithms of the softmax denominators of rows
// whose logits lie in several parts: parts holds the LogSumExp of each part, one
// after the other. It adds up in float64, in the order of the parts.
func JoinLogSumExp(lse, parts []float32) {
	for r := range lse {
		most := parts[r]
		for i := r; i < len(parts); i += len(lse) {
			most = max(most, parts[i])
		}
		var sum float64
		for i := r; i < len(parts); i += len(lse) {
			sum += math.Exp(float64(parts[i]) - float64(most))
		}
		lse[r] = float32(float64(most) + math.Log(sum))
	}
}

// CrossEntropyOf is scale times the sum of lse - logits[target] over the rows
// whose target is in vocab, the part of the vocabulary that logits
// [len(targets), vocab.Size] cover; lse is of the whole. A target out of range
// makes the loss NaN.
func CrossEntropyOf(lse, logits []float32, targets []int32, vocab Vocabulary, ld int, scale float64) float64 {
	var sum float64
	for r, target := range targets {
		if target == IgnoreIndex {
			continue
		}
		switch j, has, known := vocab.row(target); {
		case has:
			sum += float64(lse[r]) - float64(logits[r*ld+j])
		case !known:
			return math.NaN()
		}
	}
	return sum * scale
}

// CrossEntropyGrad sets dlogits, laid out as logits, to scale (softmax -
// onehot) in rows with a target and to zero in rows with [IgnoreIndex] and in
// columns past vocab.Size. dlogits may be logits; lse is of the whole
// vocabulary. A target out of range gives a row of NaN.
func CrossEntropyGrad(p *Pool, dlogits, logits, lse []float32, targets []int32, vocab Vocabulary, ld int, scale float32) {
	t := &p.tasks.loss
	*t = lossTask{active.Load(), dlogits, logits, lse, targets, vocab, ld, scale}
	p.run(len(targets), rowGrain(vocab.Size), t)
	*t = lossTask{}
}

func (t *lossTask) run(_, lo, hi int) {
	for r := lo; r < hi; r++ {
		row := t.logits[r*t.ld:][:t.vocab.Size]
		if t.d == nil {
			t.lse[r] = t.in.logSumExp(row)
			continue
		}
		t.grad(r, row)
	}
}

func (t *lossTask) grad(r int, row []float32) {
	d := t.d[r*t.ld:][:t.vocab.Size]
	j, has, known := t.vocab.row(t.targets[r])
	switch {
	case t.targets[r] == IgnoreIndex:
		clear(d)
	case !known:
		fill(d, nan)
	default:
		shift := float64(t.lse[r]) * float32Log2E
		whole := math.Round(shift)
		t.in.powerScale(d, row, float32(whole), t.scale*float32(math.Exp2(whole-shift)))
		if has {
			d[j] -= t.scale
		}
	}
	if end, past := min((r+1)*t.ld, len(t.d)), r*t.ld+t.vocab.Size; end > past {
		clear(t.d[past:end])
	}
}

const (
	// lossBlock is how many logits are read at once.
	lossBlock = 4096
	// lossReach is how much larger than the shift powers of two may be.
	lossReach = 64
	// float32Log2E is what the vector kernels multiply by.
	float32Log2E = float64(float32(log2e))
)

// logSumExp is the logarithm of the sum of exp(x), read once. Exponentials are
// powers of two shifted by a whole number that is near the maximum of the first
// block, and of a later one that exceeds it by far.
func (in *inner) logSumExp(x []float32) float32 {
	whole := func(most float32) float32 { return float32(math.Round(float64(max(most, floor)) * float32Log2E)) }
	shift, total := whole(in.max(x[:min(lossBlock, len(x))])), 0.0
	for len(x) > 0 {
		block := x[:min(lossBlock, len(x))]
		sum, most := in.powerSum(block, shift)
		if now := whole(most); now > shift+lossReach {
			total *= math.Exp2(float64(shift - now))
			shift = now
			sum, _ = in.powerSum(block, shift)
		}
		total += float64(sum)
		x = x[len(block):]
	}
	return float32((float64(shift) + math.Log2(total)) / float32Log2E)
}
