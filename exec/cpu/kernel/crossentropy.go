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
			most := t.in.max(row)
			t.lse[r] = float32(float64(most) + math.Log(float64(t.in.expSum(row, most))))
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
		t.in.expScale(d, row, t.lse[r], t.scale)
		d[target] -= t.scale
	}
	if end := min((r+1)*t.ld, len(t.d)); end > r*t.ld+t.cols {
		clear(t.d[r*t.ld+t.cols : end])
	}
}
