package search

import "slices"

// weight says how C and S are added to one value.
type weight struct{ time, synced float64 }

// of returns the value.
func (w weight) of(time, synced float64) float64 { return w.time*time + w.synced*synced }

// tail bounds what the last layers of a stage cost at least, changes left out,
// as a step function of the memory they have, for one weight.
type tail struct {
	steps []step // memory rises, value falls
	most  int64  // the most memory that any choice takes
}

// step is the least value with so much memory.
type step struct {
	held  int64
	value float64
}

// least returns the least value within memory, false where nothing fits.
func (t *tail) least(memory int64) (float64, bool) {
	lo, hi := 0, len(t.steps)
	for lo < hi {
		mid := (lo + hi) / 2
		if t.steps[mid].held <= memory {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return 0, false
	}
	return t.steps[lo-1].value, true
}

// tailKey identifies a tail: the one after it, and the layer put before that.
type tailKey struct {
	after    *tail
	layer    *Layer // nil for the empty tail
	inflight int
	sends    bool
	cells    int64
	weight   weight
}

// tails returns the bounds after each layer of a stage: tails[l] of the layers
// from l on, tails[len(layers)] of none. Stages that end alike share them.
func (s *Solver) tails(st stage, w weight) []*tail {
	tails := make([]*tail, len(st.layers)+1)
	key := tailKey{inflight: st.inflight, sends: st.sends, cells: st.cells, weight: w}
	s.mu.Lock()
	defer s.mu.Unlock()
	tails[len(st.layers)] = s.tail(key)
	for l := len(st.layers) - 1; l >= 0; l-- {
		key.after, key.layer = tails[l+1], st.layers[l]
		key.sends = st.sends && l == len(st.layers)-1
		tails[l] = s.tail(key)
	}
	return tails
}

// tail computes a tail once. s.mu is held.
func (s *Solver) tail(key tailKey) *tail {
	if t, ok := s.bounds[key]; ok {
		return t
	}
	t := &tail{steps: []step{{0, 0}}}
	if key.layer != nil {
		t = s.longer(key)
	}
	s.bounds[key] = t
	return t
}

// longer puts a layer before a tail.
func (s *Solver) longer(key tailKey) *tail {
	var options []step
	var most int64
	for i, c := range key.layer.Costs {
		o := s.option(c, i, key.inflight)
		if key.sends {
			o.time, o.synced = o.time+c.Send, o.synced+c.Send
		}
		options = append(options, step{o.held, key.weight.of(o.time, o.synced)})
		most = max(most, o.held)
	}
	options = falling(options)
	var steps []step
	for _, o := range options {
		for _, a := range key.after.steps {
			if o.held+a.held > key.cells {
				break
			}
			steps = append(steps, step{o.held + a.held, o.value + a.value})
		}
	}
	return &tail{steps: falling(steps), most: key.after.most + most}
}

// falling sorts steps by memory and keeps those of less value than all before.
func falling(steps []step) []step {
	slices.SortFunc(steps, func(a, b step) int {
		switch {
		case a.held != b.held:
			return int(min(1, max(-1, a.held-b.held)))
		case a.value < b.value:
			return -1
		case a.value > b.value:
			return 1
		}
		return 0
	})
	kept := steps[:0]
	for _, s := range steps {
		if len(kept) == 0 || s.value < kept[len(kept)-1].value {
			kept = append(kept, s)
		}
	}
	return slices.Clone(kept)
}
