package bench

// Result is one figure of a suite, as JSON one object a line.
type Result struct {
	Suite string  `json:"suite"`
	Name  string  `json:"name"` // what was measured, with its sizes
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// OfPeak is Value over the limit that was measured in the same run, 0 to 1.
	OfPeak float64 `json:"of_peak,omitempty"`
	// Peers are the ratios ours over theirs, above 1 where ours is better.
	Peers map[string]float64 `json:"peers,omitempty"`

	*Training // what the suite train adds
	*Products // what the suite cpu adds to the summary of products beside OpenBLAS
	*Planning // what the suite plan adds
	// Exchange is what the suite comm adds.
	Exchange *Exchange `json:"exchange,omitempty"`
}

// Planning is what the suite plan adds to a [Result], whose value is our cost.
// Costs are seconds of a step by Galvatron's formulas; what there is none of is
// left out.
type Planning struct {
	Case      string  `json:"case"`
	From      string  `json:"from,omitempty"` // tables or profiles
	Status    string  `json:"status"`         // cheaper, equal, dearer, found, infeasible, lost, refused or skipped
	OurCost   float64 `json:"our_cost_s,omitempty"`
	TheirCost float64 `json:"their_cost_s,omitempty"`
	Ratio     float64 `json:"ratio,omitempty"`     // ours over theirs, of seconds a sample: below 1 where ours is better
	MemoryMB  int     `json:"memory_mb,omitempty"` // of the fullest stage's devices
	BudgetMB  int     `json:"budget_mb,omitempty"`
	Search    float64 `json:"search_s,omitempty"` // with reading the profiles, where it is from them

	Batch      int    `json:"batch,omitempty"`
	TheirBatch int    `json:"their_batch,omitempty"`
	Micro      int    `json:"micro_batches,omitempty"` // 0 in the first version's cases, which count them by strategy
	Stages     int    `json:"stages,omitempty"`
	Layers     string `json:"plan,omitempty"`  // runs of strategies by stage
	Vocab      string `json:"vocab,omitempty"` // the strategy of embedding and head
	Note       string `json:"note,omitempty"`  // why it was refused, lost or skipped
}

// Exchange is what the suite comm adds to a [Result], whose value is the bus
// bandwidth.
type Exchange struct {
	Op      string  `json:"op"`
	Ranks   int     `json:"ranks"`
	Bytes   int     `json:"bytes"` // of the whole tensor
	Plane   string  `json:"plane"`
	Seconds float64 `json:"seconds"` // the median call
	Rounds  int     `json:"rounds"`
	// PeersMin and PeersMax are the extremes of Result.Peers over the rounds.
	PeersMin map[string]float64 `json:"peers_min,omitempty"`
	PeersMax map[string]float64 `json:"peers_max,omitempty"`
	// Theirs are the seconds of the peers' median calls.
	Theirs   map[string]float64 `json:"theirs,omitempty"`
	Versions map[string]string  `json:"versions,omitempty"`
}

// Products is what the suite cpu adds to a [Result] that sums up the ratios of
// matrix products, whose value is their geometric mean.
type Products struct {
	Count     int     `json:"count"`      // of products
	Worst     float64 `json:"worst"`      // the smallest ratio
	WorstName string  `json:"worst_name"` // of which product
	Library   string  `json:"openblas"`   // version and path
}

// Training is what the suite train adds to a [Result], whose value is tokens
// per second.
type Training struct {
	Workload string `json:"workload"` // its name in [Workloads]
	Side            // ours
	// Theirs are the peers' sides.
	Theirs map[string]Side `json:"theirs,omitempty"`
	// PeersMin and PeersMax are the extremes of Result.Peers over the rounds.
	PeersMin map[string]float64 `json:"peers_min,omitempty"`
	PeersMax map[string]float64 `json:"peers_max,omitempty"`
	// MemoryOfPeers is our peak memory over theirs, below 1 where ours is less.
	MemoryOfPeers map[string]float64 `json:"memory_of_peers,omitempty"`
	// Peak is what multiply-adds in registers reach before and after the rounds'
	// steps, in billions of floating-point operations a second.
	Peak float64 `json:"peak_gflops,omitempty"`
	// Profile tells where the time of our step goes.
	Profile []KernelTime `json:"profile,omitempty"`
	Rounds  int          `json:"rounds"`
	Steps   int          `json:"steps"` // a round
	Threads int          `json:"threads"`
}

// Side is what was measured of one side.
type Side struct {
	TokensPerSecond float64 `json:"tokens_per_second"`       // in the median step
	GFLOPs          float64 `json:"gflops"`                  // billions of floating-point operations a second, in the median step
	Seconds         float64 `json:"seconds"`                 // the median step
	SecondsMin      float64 `json:"seconds_min"`             // the fastest step
	SecondsMax      float64 `json:"seconds_max"`             // the slowest step
	AllocBytes      float64 `json:"alloc_bytes_per_step"`    // on Go's heap
	MemoryBytes     int64   `json:"memory_bytes"`            // most ever resident in the process; 0 where the system does not tell
	PlannedBytes    int64   `json:"planned_bytes,omitempty"` // of memory, before it ran; 0 where the side does not plan
	Loss            float64 `json:"loss"`                    // of the last step; 0 where the side does not tell
	Version         string  `json:"version,omitempty"`       // what exactly it is
}
