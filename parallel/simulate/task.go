package simulate

import "cmp"

// Task is a computation, an exchange, or a barrier. A task that is neither of
// the latter is a computation. Neighbouring computations, and neighbouring
// exchanges that the computation waits for, may be merged to one by the caller.
type Task struct {
	Name  string
	Layer int  // index of Stage.Layers; of Update a label
	Only  Only // micro-batches in whose passes it runs
	// Compute is seconds on a device, or a core, of its own.
	Compute  float64
	Exchange *Exchange
	// Barrier, in Update, is where a stage waits for all others. All stages have
	// the same number of them.
	Barrier bool
}

// Only says in the passes of which micro-batches a task runs.
type Only uint8

// The choices.
const (
	Every Only = iota
	First      // of a step: parameters that are gathered once a step
	Last       // of a step: sums of gradients
)

// has says whether micro-batch m of n is one of them.
func (o Only) has(m, n int) bool {
	return o == Every || o == First && m == 0 || o == Last && m == n-1
}

// Exchange is a collective of a stage's ranks, or a message to the neighbouring
// stage, as one rank sees it. It takes Latency, and then the time that Bytes
// need.
type Exchange struct {
	Latency float64 // seconds
	Bytes   float64 // of one flow, over its narrowest link
	Rate    float64 // bytes a second that the flow has at most; 0 if only Link limits it
	// Link is shared with all exchanges that name it. nil: a link of its own.
	Link *Link
	// Flows is how many such flows the stage's ranks put on the link at once, as
	// when several of them go through one host's. 0 stands for 1; a measured rate
	// may give fractions.
	Flows float64

	// Send marks the message to a neighbour: in Forward the activation for the
	// stage after, in Backward the gradient for the stage before. A pass has at
	// most one; where it has none, the message goes at its end, in no time.
	Send bool
	// Beside lets the computation go on. NeededBy then is what waits for it.
	Beside bool
	// NeededBy is the index of a later task of the same pass, or PassEnd or
	// ByUpdate.
	NeededBy int
}

// What waits for an exchange beside the computation, if no task of its pass does.
const (
	PassEnd  = 0  // the end of its pass
	ByUpdate = -1 // the first computation or barrier of Update
)

// Link is a resource that exchanges share: a host's network card, the server
// that all messages go through.
type Link struct {
	Name string
	Rate float64 // bytes a second of all flows together
}

// flows is Flows with its default.
func (x *Exchange) flows() float64 { return cmp.Or(x.Flows, 1) }

// beside says whether the computation need not wait for the task.
func (t *Task) beside() bool { return t.Exchange != nil && t.Exchange.Beside }

// alone is how long the exchange takes if it has the link for itself.
func (x *Exchange) alone() float64 {
	t := x.Latency
	if x.Bytes == 0 {
		return t
	}
	var own, shared float64
	if x.Rate > 0 {
		own = x.Bytes / x.Rate
	}
	if x.Link != nil {
		shared = x.Bytes * x.flows() / x.Link.Rate
	}
	return t + max(own, shared)
}
