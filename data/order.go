package data

// Order is how training steps walk through the data.
type Order string

const (
	// Random reads every window of the data once an epoch, in an order that depends on the seed.
	Random Order = "random"
	// Sequential reads the data from start to end. Row b of step s reads tokens [o, o+T) with
	// o = (s·B + b)·T. After the last step that fits, the next starts at token 0 again.
	Sequential Order = "sequential"
)

// span is a stretch of the token file.
type span struct{ from, count int }

// windows is the number of disjoint windows of seq tokens in the span, where each needs `extra` tokens
// after it for its targets.
func (s span) windows(seq, extra int) int { return max(0, s.count-extra) / seq }

// sampler places the rows of a step.
type sampler interface {
	// start is the position of the first token of a row.
	start(step, row int) int
}

type sequential struct {
	span
	batch, seq int
	steps      int // in an epoch
}

func (o sequential) start(step, row int) int {
	return o.from + (step%o.steps*o.batch+row)*o.seq
}

// shuffled cuts the span into windows anew each epoch, from a random phase on, and permutes them.
type shuffled struct {
	span
	batch, seq int
	windows    int // in an epoch
	phases     int // choices of the first window's start
	seed       uint64
}

// newShuffled gives up one window an epoch for the freedom of the phase where that costs under 1 % of the
// data; with fewer windows the phase only moves within the tokens left over.
func newShuffled(s span, batch, seq, extra int, seed uint64) shuffled {
	w := s.windows(seq, extra)
	o := shuffled{span: s, batch: batch, seq: seq, windows: w, seed: seed}
	o.phases = s.count - extra - w*seq + 1
	if w > 100 {
		o.windows, o.phases = w-1, seq
	}
	return o
}

func (o shuffled) start(step, row int) int {
	index, n := uint64(step)*uint64(o.batch)+uint64(row), uint64(o.windows)
	epoch := index / n
	window := newPermutation(n, draw(o.seed, forOrder, epoch)).at(index % n)
	phase := below(draw(o.seed, forPhase, epoch), uint64(o.phases))
	return o.from + int(phase) + int(window)*o.seq
}
