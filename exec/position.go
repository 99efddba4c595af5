package exec

import (
	"sync/atomic"

	"github.com/galvani-ml/galvani/graph"
)

// Position is an instruction that a machine is at.
type Position struct {
	MicroBatch           // without Slot and Last
	Tag        graph.Tag // the operation; its Layer is -1 where it belongs to none
	Kind       string    // of the operation
	Exchange   bool      // with other ranks
}

// landmark is what positions tell of an instruction.
type landmark struct {
	tag      graph.Tag
	kind     string
	exchange bool
}

// What a step ends with.
var (
	atNorm   = landmark{graph.Tag{Layer: -1, Name: "gradient norm and loss", Pass: graph.Backward}, (graph.AllReduce{}).Kind(), true}
	atUpdate = landmark{graph.Tag{Layer: -1, Name: "all parameters"}, "update", false}
)

// place is where one goroutine is at, for any other to look. Keeping it takes one
// atomic store an instruction.
type place struct {
	at    atomic.Pointer[landmark]
	batch atomic.Uint64 // the step in the upper half, the micro-batch's index in the lower
	_     [48]byte      // places lie in cache lines of their own
}

func (p *place) enter(mb MicroBatch) {
	p.batch.Store(uint64(uint32(mb.Step))<<32 | uint64(uint32(mb.Index)))
}

func (p *place) position() (Position, bool) {
	at, batch := p.at.Load(), p.batch.Load()
	if at == nil {
		return Position{}, false
	}
	mb := MicroBatch{Step: int(batch >> 32), Index: int(uint32(batch))}
	return Position{MicroBatch: mb, Tag: at.tag, Kind: at.kind, Exchange: at.exchange}, true
}

// Position is the instruction that the machine runs, or that waits for an exchange
// beside it; ok is false between passes. Like [Machine.Exchanging], it is safe to
// call at any time.
func (m *Machine) Position() (p Position, ok bool) { return m.computing.position() }

// Exchanging is the exchange that runs beside the computation; ok is false where
// none does.
func (m *Machine) Exchanging() (p Position, ok bool) { return m.exchanging.position() }
