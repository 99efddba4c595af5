package kernel

// rowGrain is how many rows of cols elements a worker claims at once.
func rowGrain(cols int) int { return max(1, chunk/max(cols, 1)) }

// rowTask applies add to rows of x and rows of another matrix, which repeat
// every period rows.
type rowTask struct {
	in           *inner
	y, x, other  []float32
	cols, period int
}

func (t *rowTask) run(_, lo, hi int) {
	for r := lo; r < hi; r++ {
		row := r * t.cols
		other := r % t.period * t.cols
		t.in.add(t.y[row:][:t.cols], t.x[row:][:t.cols], t.other[other:][:t.cols])
	}
}

// BiasAdd adds bias [cols] to each row: y = x + bias, both [rows, cols].
func BiasAdd(p *Pool, y, x, bias []float32, rows, cols int) {
	addRows(p, y, x, bias, rows, cols, 1)
}

// PositionAdd adds position embeddings pos [tokens, cols] to each sequence: y
// and x are [batch, tokens, cols]. pos may start at any row of a larger table.
func PositionAdd(p *Pool, y, x, pos []float32, batch, tokens, cols int) {
	addRows(p, y, x, pos, batch*tokens, cols, tokens)
}

func addRows(p *Pool, y, x, other []float32, rows, cols, period int) {
	t := &p.tasks.rows
	*t = rowTask{in: active.Load(), y: y, x: x, other: other, cols: cols, period: period}
	p.run(rows, rowGrain(cols), t)
	*t = rowTask{}
}
