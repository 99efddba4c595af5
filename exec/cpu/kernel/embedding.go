package kernel

import "math"

var nan = float32(math.NaN())

type embedTask struct {
	in       *inner
	y, table []float32
	ids      []int32
	vocab    Vocabulary
	cols     int
	gradient bool
}

// Embedding copies rows of table [vocab.Size, cols]: y [len(ids), cols]. An id
// of another part of the vocabulary gives a row of zeros, one out of range a row
// of NaN.
func Embedding(p *Pool, y, table []float32, ids []int32, vocab Vocabulary, cols int) {
	t := &p.tasks.embed
	*t = embedTask{active.Load(), y, table, ids, vocab, cols, false}
	p.run(len(ids), rowGrain(cols), t)
	*t = embedTask{}
}

// EmbeddingGrad sums the rows of dy [len(ids), cols] with equal ids into dtable
// [vocab.Size, cols], or adds to it; rows without an id are zero, or left.
// Workers divide the columns, so each element is added up in the order of ids.
// An id that the part does not have adds nothing.
func EmbeddingGrad(p *Pool, dtable, dy []float32, ids []int32, vocab Vocabulary, cols int, accumulate bool) {
	if !accumulate {
		Zero(p, dtable[:vocab.Size*cols])
	}
	t := &p.tasks.embed
	*t = embedTask{active.Load(), dtable, dy, ids, vocab, cols, true}
	p.run(ceil(cols, columnStrip), max(1, chunk/(columnStrip*max(len(ids), 1))), t)
	*t = embedTask{}
}

func (t *embedTask) run(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		if t.gradient {
			t.scatter(i*columnStrip, min((i+1)*columnStrip, t.cols))
		} else {
			t.gather(i)
		}
	}
}

func (t *embedTask) gather(i int) {
	y := t.y[i*t.cols:][:t.cols]
	switch row, has, known := t.vocab.row(t.ids[i]); {
	case has:
		copy(y, t.table[row*t.cols:][:t.cols])
	case known:
		clear(y)
	default:
		fill(y, nan)
	}
}

// scatter adds the columns from lo up to hi of the gradient, in table here.
func (t *embedTask) scatter(lo, hi int) {
	for i, id := range t.ids {
		if row, has, _ := t.vocab.row(id); has {
			sum := t.y[row*t.cols+lo : row*t.cols+hi]
			t.in.add(sum, sum, t.table[i*t.cols+lo:i*t.cols+hi])
		}
	}
}

func fill(x []float32, v float32) {
	for i := range x {
		x[i] = v
	}
}

func zeroRange(y, _ []float32) { clear(y) }

// Zero sets x to zero.
func Zero(p *Pool, x []float32) { unary(p, zeroRange, x, x) }
