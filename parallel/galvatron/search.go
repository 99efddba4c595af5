package galvatron

import (
	"cmp"
	"math"
	"slices"
)

// Search modes of the engine's cells.
const (
	tpOnly   = "tp_only"
	spOnly   = "sp_only"
	tpWithSP = "tp_with_sp"
)

// Found is what a search found.
type Found struct {
	*Plan
	Cells   int // priced
	Solved  int // of them, with a strategy of embedding and head each
	Refused []*IndivisibleError
}

// Search finds the plan of least seconds a sample over all batch sizes, divisors
// as numbers of micro-batches, pipeline degrees and strategies that the arguments
// allow. Where nothing fits the error is an [InfeasibleError].
func Search(a *Arguments, p *Profile) (*Found, error) {
	m := &model{a, p}
	found := &Found{}
	type task struct {
		cell  *Cell
		vocab int
		bound float64 // seconds a sample
	}
	var tasks []task
	least := math.MaxInt
	for c := range m.cells(&found.Refused) {
		found.Cells++
		least = min(least, c.least())
		for k := range c.Vocabs {
			if b := c.bound(k); !math.IsInf(b, 1) {
				tasks = append(tasks, task{c, k, b / float64(c.Batch)})
			}
		}
	}
	slices.SortStableFunc(tasks, func(a, b task) int { return cmp.Compare(a.bound, b.bound) })
	best, shared := math.Inf(1), newFronts()
	for _, t := range tasks {
		if t.bound >= best {
			break
		}
		found.Solved++
		if x := t.cell.solve(t.vocab, shared); x != nil && x.Cost/float64(t.cell.Batch) < best {
			best, found.Plan = x.Cost/float64(t.cell.Batch), x
		}
	}
	if found.Plan == nil {
		e := &InfeasibleError{Budget: a.Budget(), Cells: found.Cells}
		if least < math.MaxInt {
			e.Least = least
		}
		return nil, e
	}
	return found, nil
}

// CellOf prices one cell of the engine's: a batch, micro-batches, a pipeline
// degree, a mode and the width of the gather buffer.
func CellOf(a *Arguments, p *Profile, batch, chunks, pp int, mode string, buffer int) (*Cell, error) {
	m := &model{a, p}
	if batch < 1 || chunks < 1 || batch%chunks != 0 {
		return nil, &ArgumentError{"chunks", "do not divide the batch"}
	}
	c := m.cell(a.Strategies(), batch, chunks, pp, mode, buffer)
	if len(c.Time) == 0 || len(c.Vocabs) == 0 {
		return nil, &ArgumentError{"cell", "no strategy is left"}
	}
	return c, nil
}

// cells goes through the cells that can hold the best plan. Those of mode tp_only
// are left out: tp_with_sp has all their strategies and the same buffer. Strategies
// among whose replicas micro-batches do not divide are refused and noted once.
func (m *model) cells(refused *[]*IndivisibleError) func(yield func(*Cell) bool) {
	all := m.Strategies()
	return func(yield func(*Cell) bool) {
		for _, batch := range m.Batches.sizes() {
			for _, chunks := range m.Batches.chunks(batch) {
				for pp := 1; pp <= min(m.World(), m.Layers, chunks); pp *= 2 {
					if !m.cellsOf(all, batch, chunks, pp, refused, yield) {
						return
					}
				}
			}
		}
	}
}

// cellsOf goes through the modes and buffers of one pipeline degree.
func (m *model) cellsOf(all []Strategy, batch, chunks, pp int, refused *[]*IndivisibleError, yield func(*Cell) bool) bool {
	var fit []Strategy
	for _, s := range all {
		switch micro := batch / chunks; {
		case s.PP != pp || s.DP > micro:
		case micro%s.DP != 0:
			e := IndivisibleError{batch, chunks, s.DP}
			if !slices.ContainsFunc(*refused, func(r *IndivisibleError) bool { return *r == e }) {
				*refused = append(*refused, &e)
			}
		default:
			fit = append(fit, s)
		}
	}
	widest := min(m.World()/pp, m.Space.MaxTP)
	for buffer := 1; buffer <= widest; buffer *= 2 {
		if c := m.cell(fit, batch, chunks, pp, tpWithSP, buffer); c.usable() && !yield(c) {
			return false
		}
	}
	c := m.cell(fit, batch, chunks, pp, spOnly, widest)
	return !c.usable() || yield(c)
}

// usable says that there is something to choose from.
func (c *Cell) usable() bool { return len(c.Time) > 0 && len(c.Vocabs) > 0 }

// cell prices the strategies that a cell of the engine's has.
func (m *model) cell(all []Strategy, batch, chunks, pp int, mode string, buffer int) *Cell {
	c := &Cell{Batch: batch, Chunks: chunks, Budget: m.Budget(), Mode: mode, Buffer: buffer, Uniform: !m.FineGrained, form: ends}
	held := 0
	if mode != spOnly {
		held = m.bufferMB(batch, chunks, pp, buffer)
	}
	c.Stages = make([]Stage, pp)
	for i, n := range even(m.Layers, pp) {
		c.Stages[i].Layers = n
	}
	for _, s := range all {
		if s.PP != pp || s.DP > batch/chunks || s.Width() > buffer || (mode == tpOnly && s.SP > 1) || (mode == spOnly && s.TP > 1) {
			continue
		}
		if m.known(s) {
			c.add(m, s)
		}
		if m.inVocab(s, c.Vocabs) && m.knownVocab(s) {
			c.Vocabs = append(c.Vocabs, m.vocabOf(s.vocab(), batch, chunks, held))
		}
	}
	return c
}

// add prices a strategy of layers.
func (c *Cell) add(m *model, s Strategy) {
	plain, synced := m.layerTime(s, c.Batch, c.Chunks)
	c.strategies, c.Names = append(c.strategies, s), append(c.Names, s.String())
	c.Time, c.Synced, c.replicas = append(c.Time, plain), append(c.Synced, synced), append(c.replicas, s.DP)
	for i := range c.Stages {
		c.Stages[i].Memory = append(c.Stages[i].Memory, m.layerMemory(s, c.Batch, c.Chunks, i))
	}
}

// inVocab says that a strategy is one of embedding and head that is not in the list yet.
func (m *model) inVocab(s Strategy, list []Vocab) bool {
	if (m.Space.DisableVocabTP && s.TP > 1) || (m.Space.DisableVocabSP && s.SP > 1) {
		return false
	}
	return !slices.ContainsFunc(list, func(v Vocab) bool { return v.Strategy == s.vocab() })
}

// even divides layers among stages as the engine does: the last takes what is left.
func even(layers, stages int) []int {
	list := slices.Repeat([]int{layers / stages}, stages)
	list[stages-1] += layers % stages
	return list
}
