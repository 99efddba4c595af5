package exec

import (
	"slices"
	"time"

	"github.com/galvani-ml/galvani/graph"
)

// LayerTime is what the instructions of one layer took in one pass, exchanges
// with other ranks not counted.
type LayerTime struct {
	Layer int
	Pass  graph.Pass
	Again bool // of the forward pass, and run again for the backward pass
	Once  bool // once a step rather than with every micro-batch
	Time  time.Duration
}

// LayerTimes is what was measured since [Machine.Profile] began, in the order in
// which the layers and passes first run; nil while nothing is measured.
func (m *Machine) LayerTimes() []LayerTime { return slices.Clone(m.layerTimes) }

// layerTime finds, or adds, where the time of an instruction of the pass that is
// being filled is summed.
func (c *compiler) layerTime(s *step) int {
	t := LayerTime{
		Layer: s.tag.Layer, Pass: c.kinds[s.kind].pass, Again: s.tag.Recompute,
		Once: c.pass == &c.prologue || c.pass == &c.epilogue,
	}
	i := slices.Index(c.layerTimes, t)
	if i < 0 {
		i = len(c.layerTimes)
		c.layerTimes = append(c.layerTimes, t)
	}
	return i
}
