package cluster

// Exchange is a collective over a group of ranks, or a message between two. All
// groups of its kind, those with the same stride in every block of ranks, make
// it at the same time, as the ranks of a stage do.
type Exchange struct {
	Kind  string `json:"kind"`  // as graph's operations: all_reduce, all_gather, reduce_scatter, all_to_all, rotate, send
	Bytes int64  `json:"bytes"` // of the whole tensor: before a reduction, after a gather
	Group Group  `json:"group"`
}

// Group is a set of ranks that are a stride apart: r, r+Stride, and so on.
// Ranks are numbered through the cluster, host by host.
type Group struct {
	Ranks  int `json:"ranks"`
	Stride int `json:"stride"`
}
