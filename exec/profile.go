package exec

import (
	"cmp"
	"slices"
	"time"

	"github.com/galvani-ml/galvani/graph"
)

// KindTime is what all instructions of one kind took in one pass. Exchanges with
// other ranks took as long as the computation waited for them.
type KindTime struct {
	Kind  string
	Pass  graph.Pass
	Count int64
	Time  time.Duration
	FLOPs int64 // where arithmetic is the limit
}

// Profile starts to measure instructions anew, or stops.
func (m *Machine) Profile(on bool) {
	m.profile, m.layerTimes = nil, nil
	if !on {
		return
	}
	m.layerTimes = slices.Clone(m.program.layerTimes)
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

// Waited is how long the computation waited for other ranks.
type Waited struct {
	Collectives time.Duration // sums of gradients and of the norm included
	Receives    time.Duration // from other pipeline stages: the bubble, and the way
	Sends       time.Duration
	// Across is the part of Collectives at the end of a step that joins all
	// stages: sums of the gradients of parameters that stages share, and of the
	// norm. There, ranks that are done wait for the others.
	Across time.Duration
}

// Total is the sum.
func (w Waited) Total() time.Duration { return w.Collectives + w.Receives + w.Sends }

// Sub is what was waited since w was w0.
func (w Waited) Sub(w0 Waited) Waited {
	return Waited{w.Collectives - w0.Collectives, w.Receives - w0.Receives, w.Sends - w0.Sends, w.Across - w0.Across}
}

// Waited is what was measured since the machine was made, profiling or not.
func (m *Machine) Waited() Waited { return m.waited }

// took notes what an instruction took.
func (m *Machine) took(s *step, d time.Duration) {
	if m.profile != nil {
		m.profile[s.kind].Time += d
	}
	if s.exchange == nil {
		return
	}
	switch m.program.kinds[s.kind].name {
	case (graph.Recv{}).Kind():
		m.waited.Receives += d
	case (graph.Send{}).Kind():
		m.waited.Sends += d
	default:
		m.waited.Collectives += d
	}
}

// summed notes what sums of gradients over groups took.
func (m *Machine) summed(groups []string, d time.Duration) {
	m.waited.Collectives += d
	if slices.ContainsFunc(groups, graph.AcrossStages) {
		m.waited.Across += d
	}
}

// compute runs the kernel of an instruction.
func (m *Machine) compute(s *instruction, a *Args) error {
	if m.profile == nil {
		return s.kernel.Run(a)
	}
	start := time.Now()
	err := s.kernel.Run(a)
	took := time.Since(start)
	m.took(s.step, took)
	m.layerTimes[s.timed].Time += took
	return err
}
