package profile

import (
	"time"

	"github.com/galvani-ml/galvani/comm"
)

// jobKind is the kind of the jobs that measure hardware.
const jobKind = "profile"

// spec says what the workers measure.
type spec struct {
	Threads int           // of each worker
	Plane   comm.Plane    // the data plane of exchanges
	Sizes   []int64       // of exchanges, in bytes, ascending
	Window  time.Duration // that a figure takes, about
	Shapes  []shape       // of linear layers
	Stream  int           // elements of each vector that memory's bandwidth is measured on
}

// shape is that of a linear layer: x [Rows, In] by w [In, Out].
type shape struct{ Rows, In, Out int }

// shapes are about the products of models from gpt-nano to GPT-2 124M: of 0.5
// million to 2.4 billion operations.
var shapes = []shape{{64, 64, 64}, {128, 128, 384}, {256, 256, 1024}, {512, 768, 768}, {512, 768, 3072}}

// streamElements makes three vectors of 64 MiB, which no usual cache holds.
const streamElements = 16 << 20

// firstBytes is the smallest exchange that is measured, sizeStep how many times
// as large each next one is.
const (
	firstBytes = 1 << 10
	sizeStep   = 4
)

// sizesTo are the sizes of exchanges up to the largest.
func sizesTo(largest int64) (sizes []int64) {
	for n := int64(firstBytes); n <= largest; n *= sizeStep {
		sizes = append(sizes, n)
	}
	return sizes
}

// layouts are the groups that workers can form: of each number of ranks and
// stride whose blocks are equal parts of the workers.
func layouts(workers int) (all []layout) {
	for ranks := 2; ranks <= workers; ranks++ {
		for stride := 1; ranks*stride <= workers; stride++ {
			if workers%(ranks*stride) == 0 {
				all = append(all, layout{ranks, stride})
			}
		}
	}
	return all
}

// layout is a set of groups alike: ranks a stride apart, in every block of
// Ranks*Stride workers.
type layout struct{ Ranks, Stride int }

// group is that of rank, in order, and its place there.
func (l layout) group(rank int) (ranks []int, place int) {
	block := l.Ranks * l.Stride
	first := rank/block*block + rank%l.Stride
	for i := range l.Ranks {
		ranks = append(ranks, first+i*l.Stride)
	}
	return ranks, (rank - first) / l.Stride
}

// Kinds of events that workers report.
const (
	eventProgress = "progress"
	eventFound    = "found" // of rank 0, its last
	eventDone     = "done"  // of the others
)

// found is what was measured. All ranks agree about it.
type found struct {
	Plane     comm.Plane // that carried exchanges
	Exchanges []series
	Rates     []rate
	Bandwidth figure // seconds of Bytes read and written
	Bytes     int64
	Launch    figure // of a tiny operation
	Overlap   overlap
}

// series are the figures of an exchange over groups alike, by size.
type series struct {
	Kind   string // as graph's operations
	Layout layout
	Bytes  []int64
	Times  []figure
}

// rate is the figure of an operation.
type rate struct {
	Kind, Precision string
	FLOPs           int64
	Time            figure
}

// overlap is what computation and an all-reduce take alone and side by side.
type overlap struct{ Compute, Exchange, Both figure }

// figure is the median of what the slowest rank of each turn took, and the
// interquartile range of that over the median.
type figure struct{ Seconds, Spread float64 }
