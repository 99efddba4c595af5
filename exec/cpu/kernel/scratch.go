package kernel

const (
	packedA     = 1024 * 768 // elements of A packed at once
	workerFloat = 192 << 10  // elements of each worker's own scratch
	sumChunks   = 1 << 10    // parts of a float64 sum
)

// scratch is the memory kernels work in, one per pool.
type scratch struct {
	all     []float32
	a       []float32
	workers [][]float32
	sums    []float64
}

// ScratchFloats is the number of float32 elements a pool of that many threads
// takes for scratch memory, whatever kernels it runs.
func ScratchFloats(threads int) int {
	return packedA + threads*workerFloat + 2*sumChunks
}

func newScratch(threads int) scratch {
	s := scratch{all: Alloc(packedA + threads*workerFloat), sums: make([]float64, sumChunks)}
	rest := s.all
	take := func(n int) (x []float32) {
		x, rest = rest[:n:n], rest[n:]
		return x
	}
	s.a = take(packedA)
	for range threads {
		s.workers = append(s.workers, take(workerFloat))
	}
	return s
}

func (s *scratch) free() {
	Free(s.all)
	*s = scratch{}
}

// tasks holds the arguments of the kernel that runs, one field a kernel family,
// so that no call allocates.
type tasks struct {
	each     eachTask
	ranges   rangeTask
	block    blockTask
	place    placeTask
	packB    packBTask
	skinny   skinnyTask
	batched  batchedTask
	forward  attentionTask
	backward attentionGradTask
	unary    unaryTask
	binary   binaryTask
	scalar   scalarTask
	rows     rowTask
	norm     normTask
	normGrad normGradTask
	loss     lossTask
	columns  columnTask
	embed    embedTask
	dropout  dropoutTask
	chain    chainTask
	rounded  roundedTask
	adamW    adamWTask
	squares  squaresTask
	peak     peakTask
	sum      sumTask
	triad    triadTask
}
