package kernel

const (
	columnStrip = 64  // columns a worker claims of a sum over rows
	columnRows  = 128 // rows added up before they join the total
)

type columnTask struct {
	in         *inner
	y, x       []float32
	rows, cols int
	ld         int
	accumulate bool
	workers    [][]float32
}

// ColumnSum sums x [rows, cols], with rows of ld elements, over its rows into y
// [cols], or adds to y: the gradient of a bias. Rows are added in blocks of
// 128, and the blocks in their order.
func ColumnSum(p *Pool, y, x []float32, rows, cols, ld int, accumulate bool) {
	t := &p.tasks.columns
	*t = columnTask{active.Load(), y, x, rows, cols, ld, accumulate, p.scratch.workers}
	p.run(ceil(cols, columnStrip), max(1, chunk/(columnStrip*max(rows, 1))), t)
	*t = columnTask{}
}

// PositionGrad sums dy [batch, tokens, cols] over the batch into dpos
// [tokens, cols], or adds to it: the gradient of position embeddings.
func PositionGrad(p *Pool, dpos, dy []float32, batch, tokens, cols int, accumulate bool) {
	ColumnSum(p, dpos, dy, batch, tokens*cols, tokens*cols, accumulate)
}

func (t *columnTask) run(worker, lo, hi int) {
	for i := lo; i < hi; i++ {
		col := i * columnStrip
		y := t.y[col:min(col+columnStrip, t.cols)]
		if !t.accumulate {
			clear(y)
		}
		block := t.workers[worker][:len(y)]
		for r := 0; r < t.rows; r += columnRows {
			clear(block)
			t.in.columnSum(block, t.x[r*t.ld+col:], t.ld, min(columnRows, t.rows-r))
			t.in.add(y, y, block)
		}
	}
}
