package cluster

import (
	"math"
	"sort"
)

// Collective is how long one kind of exchange takes over groups alike, all of
// them at the same time, as measured.
type Collective struct {
	Kind   string  `json:"kind"`
	Group  Group   `json:"group"`
	Points []Point `json:"points"` // ascending in bytes
}

// Point is one size that was measured.
type Point struct {
	Bytes   int64   `json:"bytes"` // as [Exchange.Bytes]
	Seconds float64 `json:"seconds"`
	Spread  float64 `json:"spread,omitempty"` // of the seconds, from run to run
}

// Time is the seconds for a number of bytes: on a straight line between the
// logarithms of the nearest points, on the last such line beyond them, and the
// first point's time below. One point alone is proportional beyond it.
func (m *Collective) Time(bytes int64) float64 {
	p := m.Points
	if len(p) == 0 {
		return math.Inf(1)
	}
	if bytes <= p[0].Bytes {
		return p[0].Seconds
	}
	if len(p) == 1 {
		return p[0].Seconds * float64(bytes) / float64(p[0].Bytes)
	}
	i := sort.Search(len(p), func(i int) bool { return p[i].Bytes >= bytes })
	i = min(i, len(p)-1)
	a, b := p[i-1], p[i]
	slope := math.Log(b.Seconds/a.Seconds) / math.Log(float64(b.Bytes)/float64(a.Bytes))
	if bytes > b.Bytes {
		// Noise must not make more bytes take less time.
		return b.Seconds * math.Pow(float64(bytes)/float64(b.Bytes), max(0, slope))
	}
	return a.Seconds * math.Pow(float64(bytes)/float64(a.Bytes), slope)
}

// flow gives a flow by formula the measured time.
func (m *Collective) flow(bytes int64, f Flow) Flow {
	t := m.Time(bytes)
	f.Latency = t
	if len(m.Points) > 0 {
		f.Latency = min(t, m.Points[0].Seconds)
	}
	if t > f.Latency {
		f.Rate = f.Bytes / (t - f.Latency)
	} else {
		f.Bytes = 0
	}
	return f
}

// table is the measured times of an exchange's kind and number of ranks, with
// its stride or else the nearest one; nil if there are none.
func (l *Link) table(e Exchange) *Collective {
	var best *Collective
	distance := func(m *Collective) float64 {
		return math.Abs(math.Log(float64(m.Group.Stride) / float64(e.Group.Stride)))
	}
	for i := range l.Measured {
		m := &l.Measured[i]
		if m.Kind == e.Kind && m.Group.Ranks == e.Group.Ranks && (best == nil || distance(m) < distance(best)) {
			best = m
		}
	}
	return best
}
