package kernel

import "math"

// IgnoreIndex marks a target that has no loss.
const IgnoreIndex = -100

// lossTask does rows of logits; a nil gradient means the forward pass.
type lossTask struct {
	in       *inner
	d        []float32
	logits   []float32
	lse      []float32
	targets  []int32
	cols, ld int
	scale    float32
}

// CrossEntropy is scale times the sum over rows of -log softmax(logits)[target],
// rows with target [IgnoreIndex] left out. logits is [len(targets), cols] with
// rows of ld elements; columns past cols (a padded vocabulary) do not count.
// It saves the logarithm of each row's softmax denominator in lse. Rows are
// added in their order in float64. A target out of range makes the loss NaN.
func CrossEntropy(p *Pool, lse, logits []float32, targets []int32, cols, ld int, scale float64) float64 {
	t := &p.tasks.loss
	*t = lossTask{in: active.Load(), logits: logits, lse: lse, targets: targets, cols: cols, ld: ld}
	p.run(len(targets), rowGrain(cols), t)
	*t = lossTask{}
	var sum float64
	for r, target := range targets {
		switch {
		case target == IgnoreIndex:
		case target < 0 || int(target) >= cols:
			return math.NaN()
		default:
			sum += float64(lse[r]) - float64(logits[r*ld+int(target)])
		}
	}
	return sum * scale
}

// CrossEntropyGrad sets dlogits, laid out as logits, to scale (softmax -
// onehot) in rows with a target and to zero in rows with [IgnoreIndex] and in
// columns past cols. dlogits may be logits. A target out of range gives a row
// of NaN.
func CrossEntropyGrad(p *Pool, dlogits, logits, lse []float32, targets []int32, cols, ld int, scale float32) {
	t := &p.tasks.loss
	*t = lossTask{active.Load(), dlogits, logits, lse, targets, cols, ld, scale}
	p.run(len(targets), rowGrain(cols), t)
	*t = lossTask{}
}

func (t *lossTask) run(_, lo, hi int) {
	for r := lo; r < hi; r++ {
		row := t.logits[r*t.ld:][:t.cols]
		if t.d == nil {
			t.lse[r] = t.in.logSumExp(row)
			continue
		}
		t.grad(r, row)
	}
}

func (t *lossTask) grad(r int, row []float32) {
	d := t.d[r*t.ld:][:t.cols]
	switch target := int(t.targets[r]); {
	case target == IgnoreIndex:
		clear(d)
	case target < 0 || target >= t.cols:
		fill(d, nan)
	default:
		shift := float64(t.lse[r]) * float32Log2E
		whole := math.Round(shift)
		t.in.powerScale(d, row, float32(whole), t.scale*float32(math.Exp2(whole-shift)))
		d[target] -= t.scale
	}
	if end := min((r+1)*t.ld, len(t.d)); end > r*t.ld+t.cols {
		clear(t.d[r*t.ld+t.cols : end])
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
