package comm

// sumVectors adds n bytes, a multiple of sumStep and not 0, to sums, which are zero:
// first the lanes' sums, then the sums of those after each row of lanes.
//
//go:noescape
func sumVectors(b *byte, n int, sums *[2 * sumLanes]uint64)
