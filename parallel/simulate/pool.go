package simulate

import (
	"container/heap"
	"math"
	"slices"
)

// activity is work under way in a pool: a computation of a stage's ranks, or an
// exchange of them.
type activity struct {
	owner    *player
	exchange bool    // or the computation
	limit    float64 // units a second if it is alone
	weight   float64 // how many alike it stands for
	pool     *pool
	slowed   bool // its rank computes and exchanges at the same time

	left  float64 // units at time since
	since float64
	rate  float64 // units a second, from since on
	end   float64 // when it ends at that rate
}

// pool shares a capacity fairly among activities: cores among computations, a
// link among flows. Shares are max-min fair, as in Bertsekas and Gallager: Data
// Networks (1992), section 6.5: all get the same, but who cannot use that much
// leaves the rest to the others.
type pool struct {
	number   int
	capacity float64 // units a second; +Inf: each activity has its limit
	overlap  float64 // what slowed activities are slower by
	active   []*activity
	end      float64 // when the first activity ends
	place    int     // in the heap

	began float64     // when the activities under way began, the first of them
	busy  float64     // seconds with activities, until then
	ended []*activity // memory for finish
}

// add starts an activity.
func (p *pool) add(a *activity, now float64) {
	if len(p.active) == 0 {
		p.began = now
	}
	a.since, a.rate, a.end = now, 0, math.Inf(1)
	at := len(p.active) // by limit; those with equal ones as they came
	for at > 0 && p.active[at-1].limit > a.limit {
		at--
	}
	p.active = slices.Insert(p.active, at, a)
	p.share(now)
}

// share sets the rates from now on.
func (p *pool) share(now float64) {
	weight := 0.0
	for _, a := range p.active {
		weight += a.weight
	}
	capacity, level := p.capacity, 0.0
	p.end = math.Inf(1)
	for _, a := range p.active {
		rate := level
		if level == 0 {
			rate = capacity / max(weight, a.weight) // its own, where rounding left less
			if a.limit < rate {
				rate = a.limit
				capacity -= rate * a.weight
				weight -= a.weight
			} else {
				level = rate // for all that are left
			}
		}
		if a.slowed {
			rate /= p.overlap
		}
		a.run(rate, now)
		p.end = min(p.end, a.end)
	}
}

// run goes on at a rate.
func (a *activity) run(rate, now float64) {
	if rate == a.rate {
		return
	}
	a.left = max(0, a.left-a.rate*(now-a.since))
	a.since, a.rate, a.end = now, rate, now
	if a.left > 0 {
		a.end += a.left / rate
	}
}

// finish takes out what ends now, in the order in which it began or, of several
// limits, the lowest first.
func (p *pool) finish(now float64) []*activity {
	p.ended = p.ended[:0]
	rest := p.active[:0]
	for _, a := range p.active {
		if a.end <= now {
			p.ended = append(p.ended, a)
		} else {
			rest = append(rest, a)
		}
	}
	clear(p.active[len(rest):])
	p.active = rest
	if len(rest) == 0 {
		p.busy += now - p.began
	}
	p.share(now)
	return p.ended
}

// pools is a heap of pools: the one whose activity ends first is on top.
type pools []*pool

var _ heap.Interface = (*pools)(nil)

func (h pools) Len() int { return len(h) }

func (h pools) Less(i, j int) bool {
	return h[i].end < h[j].end || h[i].end == h[j].end && h[i].number < h[j].number
}

func (h pools) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push adds a pool.
func (h *pools) Push(x any) {
	p := x.(*pool)
	p.place = len(*h)
	*h = append(*h, p)
}

// Pop takes out the last pool.
func (h *pools) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	*h = (*h)[:last]
	return p
}

// add makes a pool.
func (h *pools) add(capacity, overlap float64) *pool {
	p := &pool{number: len(*h), capacity: capacity, overlap: overlap, end: math.Inf(1)}
	heap.Push(h, p)
	return p
}
