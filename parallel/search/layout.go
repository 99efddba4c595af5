package search

import "slices"

// option is a strategy of a layer at one place of a stage, memory in cells of
// the grid.
type option struct {
	index   int     // into the layer's Costs
	held    int64   // states, and activations of all micro-batches in flight, rounded up
	own     int64   // activations of one micro-batch, rounded down
	peak    int64   // rounded up
	time    float64 // C
	synced  float64 // S
	in, out int     // classes: strategies that are entered, and left, at equal cost
}

// place is a layer of a stage with its options and what it takes to come to
// them.
type place struct {
	options []option
	ins     int
	outs    int
	change  [][]float64 // by out class of the layer before and in class
}

// cells rounds bytes up to the grid.
func (s *Solver) cells(bytes int64) int64 { return (bytes + s.unit - 1) / s.unit }

// option prices a strategy with so many micro-batches in flight.
func (s *Solver) option(c Cost, index, inflight int) option {
	return option{
		index: index,
		held:  s.cells(c.States + int64(inflight)*c.Activation),
		own:   c.Activation / s.unit,
		peak:  s.cells(c.Peak),
		time:  c.Time, synced: c.Time + c.Sync,
	}
}

// places lays out the layers of a stage.
func (s *Solver) places(st stage) []place {
	places := make([]place, len(st.layers))
	for l, layer := range st.layers {
		p := &places[l]
		for i, c := range layer.Costs {
			o := s.option(c, i, st.inflight)
			if l == 0 && st.receives {
				o.time, o.synced = o.time+c.Receive, o.synced+c.Receive
			}
			if l == len(places)-1 && st.sends {
				o.time, o.synced = o.time+c.Send, o.synced+c.Send
			}
			p.options = append(p.options, o)
		}
	}
	for l := range places {
		s.enter(places, st, l)
	}
	for l := range places {
		places[l].prune()
	}
	return places
}

// enter finds the classes of the border before a layer: strategies that all
// others are left for at the same costs, or entered from.
func (s *Solver) enter(places []place, st stage, l int) {
	to := &places[l]
	to.ins, to.outs = 1, 1
	if l == 0 {
		to.change = [][]float64{{0}}
		return
	}
	from := &places[l-1]
	border := s.border(st.layers[l-1], st.layers[l])
	for i := range from.options {
		from.options[i].out = border.out[i]
	}
	for i := range to.options {
		to.options[i].in = border.in[i]
	}
	from.outs, to.ins, to.change = len(border.change), len(border.change[0]), border.change
}

// border is what it takes to come from a layer to the next.
type border struct {
	out, in []int       // class of each strategy of the first, and of the second layer
	change  [][]float64 // by out and in class
}

// newBorder groups strategies of equal rows and of equal columns.
func newBorder(rows [][]float64) *border {
	b := &border{}
	var outs [][]float64
	for _, r := range rows {
		k := slices.IndexFunc(outs, func(o []float64) bool { return slices.Equal(o, r) })
		if k < 0 {
			k, outs = len(outs), append(outs, r)
		}
		b.out = append(b.out, k)
	}
	var ins [][]float64
	for t := range rows[0] {
		column := make([]float64, len(outs))
		for k, o := range outs {
			column[k] = o[t]
		}
		k := slices.IndexFunc(ins, func(c []float64) bool { return slices.Equal(c, column) })
		if k < 0 {
			k, ins = len(ins), append(ins, column)
		}
		b.in = append(b.in, k)
	}
	b.change = make([][]float64, len(outs))
	for k := range outs {
		for _, column := range ins {
			b.change[k] = append(b.change[k], column[k])
		}
	}
	return b
}

// prune drops options that another of the same classes beats in everything, or
// equals and comes first.
func (p *place) prune() {
	var kept []option
	for i, o := range p.options {
		if !slices.ContainsFunc(kept, func(k option) bool { return k.beats(o) }) &&
			!slices.ContainsFunc(p.options[i+1:], func(k option) bool { return k.beats(o) && !o.beats(k) }) {
			kept = append(kept, o)
		}
	}
	p.options = kept
}

// beats says that o in place of x costs no more, whatever is around.
func (o option) beats(x option) bool {
	return o.in == x.in && o.out == x.out && o.time <= x.time && o.synced <= x.synced &&
		o.held <= x.held && o.held+o.peak <= x.held+x.peak && o.held-o.own <= x.held-x.own
}
