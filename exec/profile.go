package exec

import (
	"cmp"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/graph"
)

// KindTime is what all instructions of one kind took in one pass.
type KindTime struct {
	Kind  string
	Pass  graph.Pass
	Count int64
	Time  time.Duration
	FLOPs int64 // where arithmetic is the limit
}

// Profile starts to measure instructions anew, or stops.
func (m *Machine) Profile(on bool) {
	m.profile = nil
	if !on {
		return
	}
	m.profile = make([]KindTime, len(m.program.kinds))
	for i, k := range m.program.kinds {
		m.profile[i] = KindTime{Kind: k.name, Pass: k.pass}
	}
}

// Times is what was measured since the profile began, the longest first.
func (m *Machine) Times() []KindTime {
	times := slices.Clone(m.profile)
	slices.SortStableFunc(times, func(a, b KindTime) int { return cmp.Compare(b.Time, a.Time) })
	return times
}
