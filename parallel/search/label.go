package search

import (
	"cmp"
	"slices"
)

// label is a way to run the first layers of a stage: a state of the dynamic
// program.
type label struct {
	held   int64   // cells kept when all micro-batches in flight have passed these layers
	worst  int64   // most cells at any moment, these layers alone
	time   float64 // C, or the weighted value where one is sought
	synced float64 // S, or the same value
	parent int32   // label of the layer before
	option int32   // of the last layer
}

// compareLabels sorts by memory, so that a label comes after all that may beat
// it, and otherwise so that no order of computation shows.
func compareLabels(a, b label) int {
	return cmp.Or(cmp.Compare(a.held, b.held), cmp.Compare(a.time, b.time), cmp.Compare(a.synced, b.synced),
		cmp.Compare(a.worst, b.worst), cmp.Compare(a.parent, b.parent), cmp.Compare(a.option, b.option))
}

// unbeaten sorts labels and drops those that another beats, or equals, in
// everything. The ones that are beaten only by a label that holds less but has a
// higher peak above what it holds may stay; that costs time, not exactness.
func unbeaten(labels []label) []label {
	slices.SortFunc(labels, compareLabels)
	var fronts []peakFront
	kept := labels[:0]
	for _, l := range labels {
		over := l.worst - l.held
		own := -1
		beaten := false
		for i := range fronts {
			if fronts[i].over == over {
				own = i
			}
			if fronts[i].over <= over && fronts[i].beats(l.time, l.synced) {
				beaten = true
				break
			}
		}
		if beaten {
			continue
		}
		if own < 0 {
			own, fronts = len(fronts), append(fronts, peakFront{over: over})
		}
		fronts[own].add(l.time, l.synced)
		kept = append(kept, l)
	}
	return kept
}

// peakFront is the front in C and S of labels with equal peaks above what they
// hold.
type peakFront struct {
	over  int64
	pairs [][2]float64 // C rises, S falls
}

// place returns the number of pairs whose C is at most time.
func (f *peakFront) place(time float64) int {
	lo, hi := 0, len(f.pairs)
	for lo < hi {
		mid := (lo + hi) / 2
		if f.pairs[mid][0] <= time {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// beats says that a pair is as good in both.
func (f *peakFront) beats(time, synced float64) bool {
	i := f.place(time)
	return i > 0 && f.pairs[i-1][1] <= synced
}

// add puts in a pair that none beats, and takes out those that it beats.
func (f *peakFront) add(time, synced float64) {
	i := f.place(time)
	if i > 0 && f.pairs[i-1][0] == time {
		i--
	}
	j := i
	for j < len(f.pairs) && f.pairs[j][1] >= synced {
		j++
	}
	f.pairs = slices.Replace(f.pairs, i, j, [2]float64{time, synced})
}
