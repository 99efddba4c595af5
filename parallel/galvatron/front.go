package galvatron

import (
	"cmp"
	"math"
	"slices"
)

// option is a strategy for one layer of a stage.
type option struct {
	strategy     int // its number
	memory       int // MB
	time, synced float64
}

// way is a way to run the layers of a stage: how many take which strategy.
type way struct {
	memory       int
	time, synced float64
	counts       []int // by option, those of the first ones where the rest are zero
}

// front returns the ways to run equal layers within a memory that no other
// beats in both times, by rising time without reduction; none where nothing fits.
//
// It goes through the options and adds to every way any number of layers of each.
// Of ways with equally many layers left those beaten in memory and both times
// are dropped, and those that cannot come below what was found: what is left
// takes at least the linear relaxation, which for equal layers is the lower
// convex hull of memory and time, at the memory left for each.
func front(options []option, layers, memory int) []way {
	options = unbeaten(options)
	f := &frontier{options: options, layers: layers, memory: memory}
	f.hulls = make([][2]hull, len(options)+1)
	for k := range options {
		f.hulls[k] = [2]hull{
			newHull(options[k:], func(o option) float64 { return o.time }),
			newHull(options[k:], func(o option) float64 { return o.synced }),
		}
	}
	f.round()
	groups := make([][]way, layers+1) // by layers placed
	groups[0] = []way{{counts: []int{}}}
	for k := range options {
		groups = f.add(groups, k)
	}
	slices.SortFunc(f.found, func(a, b way) int { return cmp.Compare(a.time, b.time) })
	return f.found
}

// unbeaten drops options that another beats in everything, and orders them by
// rising time.
func unbeaten(options []option) []option {
	all := slices.Clone(options)
	slices.SortStableFunc(all, func(a, b option) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.synced, b.synced), cmp.Compare(a.memory, b.memory))
	})
	var kept []option
	for _, o := range all {
		if !slices.ContainsFunc(kept, func(k option) bool { return k.memory <= o.memory && k.synced <= o.synced }) {
			kept = append(kept, o)
		}
	}
	return kept
}

// frontier is the search of a front.
type frontier struct {
	options        []option
	layers, memory int
	hulls          [][2]hull // of the options from k on, for both times
	found          []way
}

// add puts any number of layers on option k.
func (f *frontier) add(groups [][]way, k int) [][]way {
	o := f.options[k]
	next := make([][]way, len(groups))
	for placed, ways := range groups {
		for _, w := range ways {
			for n := 0; placed+n <= f.layers; n++ {
				x := way{w.memory + n*o.memory, w.time + float64(n)*o.time, w.synced + float64(n)*o.synced, nil}
				if x.memory > f.memory {
					break
				}
				if left := f.layers - placed - n; !f.goesOn(x, k+1, left) {
					continue
				}
				x.counts = append(slices.Clip(w.counts), n)
				if placed+n == f.layers {
					f.keep(x)
				} else {
					next[placed+n] = append(next[placed+n], x)
				}
			}
		}
	}
	for i := range next {
		next[i] = undominated(next[i])
	}
	return next
}

// goesOn says that a way may lead to one that nothing found beats.
func (f *frontier) goesOn(w way, k, left int) bool {
	time, synced := w.time, w.synced
	if left > 0 {
		if k == len(f.options) {
			return false
		}
		each := float64(f.memory-w.memory) / float64(left)
		h := f.hulls[k]
		time += float64(left) * h[0].at(each)
		synced += float64(left) * h[1].at(each)
	}
	if math.IsInf(time, 1) {
		return false
	}
	for _, g := range f.found {
		if g.time <= time*(1+slight) && g.synced <= synced*(1+slight) {
			return false
		}
	}
	return true
}

// slight is the relative difference below which times count as equal. Sums of
// the same times in another order differ by less.
const slight = 1e-13

// keep adds a way to those found and drops what it beats.
func (f *frontier) keep(w way) {
	for _, g := range f.found {
		if g.time <= w.time && g.synced <= w.synced {
			return
		}
	}
	f.found = slices.DeleteFunc(f.found, func(g way) bool { return w.time <= g.time && w.synced <= g.synced })
	f.found = append(f.found, w)
}

// round finds first ways: two options in the numbers that fill memory best, all
// pairs.
func (f *frontier) round() {
	for i, a := range f.options {
		for j, b := range f.options[i:] {
			n := f.layers // on a, the faster
			if over := n*a.memory - f.memory; over > 0 {
				saved := a.memory - b.memory
				if saved <= 0 {
					continue
				}
				n -= (over + saved - 1) / saved
			}
			if n < 0 {
				continue
			}
			m := f.layers - n
			w := way{n*a.memory + m*b.memory, float64(n)*a.time + float64(m)*b.time, float64(n)*a.synced + float64(m)*b.synced, make([]int, len(f.options))}
			w.counts[i] += n
			w.counts[i+j] += m
			f.keep(w)
		}
	}
}

// undominated drops ways that another beats in memory and both times.
func undominated(ways []way) []way {
	slices.SortFunc(ways, func(a, b way) int {
		return cmp.Or(cmp.Compare(a.memory, b.memory), cmp.Compare(a.time, b.time), cmp.Compare(a.synced, b.synced))
	})
	kept := ways[:0]
	var stairs []way // of those kept, not beaten in both times: by rising time and falling synced
	for _, w := range ways {
		at, _ := slices.BinarySearchFunc(stairs, w.time, func(s way, t float64) int { return cmp.Compare(s.time, t) })
		if (at < len(stairs) && stairs[at].time == w.time && stairs[at].synced <= w.synced) || (at > 0 && stairs[at-1].synced <= w.synced) {
			continue
		}
		kept = append(kept, w)
		end := at
		for end < len(stairs) && stairs[end].synced >= w.synced {
			end++
		}
		stairs = slices.Replace(stairs, at, end, w)
	}
	return kept
}

// hull is the lower convex hull of points of memory and time, by rising memory
// and falling time.
type hull []struct{ memory, time float64 }

func newHull(options []option, time func(option) float64) hull {
	sorted := slices.Clone(options)
	slices.SortFunc(sorted, func(a, b option) int {
		return cmp.Or(cmp.Compare(a.memory, b.memory), cmp.Compare(time(a), time(b)))
	})
	var h hull
	for _, o := range sorted {
		m, t := float64(o.memory), time(o)
		if len(h) > 0 && t >= h[len(h)-1].time {
			continue
		}
		for len(h) > 1 {
			a, b := h[len(h)-2], h[len(h)-1]
			if (b.time-a.time)*(m-a.memory) < (t-a.time)*(b.memory-a.memory) {
				break
			}
			h = h[:len(h)-1]
		}
		h = append(h, struct{ memory, time float64 }{m, t})
	}
	return h
}

// at is the least time of a layer with a memory: infinite where none fits.
func (h hull) at(memory float64) float64 {
	if len(h) == 0 || memory < h[0].memory {
		return math.Inf(1)
	}
	for i := 1; i < len(h); i++ {
		if memory < h[i].memory {
			a, b := h[i-1], h[i]
			return a.time + (b.time-a.time)*(memory-a.memory)/(b.memory-a.memory)
		}
	}
	return h[len(h)-1].time
}
