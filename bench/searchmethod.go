package bench

import (
	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/planner"
	"github.com/galvani-ml/galvani/parallel/search"
)

// searchMethod restricts the space of plans.
type searchMethod struct {
	Label    string
	Title    string // of its column
	Note     string
	restrict func(*planner.Options)
}

// The methods of the suite search, the widest last. All may split a batch into
// micro-batches. Parts of the space have even partitions, which BMW begins at too:
// so none of them can be better, as one that has BMW's partitions now and then is,
// where the search over those goes another way.
var searchMethods = []searchMethod{
	{"dp", "DP", "data parallelism on all devices", pure(search.DP)},
	{"sdp", "SDP", "ZeRO-3 on all devices", pure(search.SDP)},
	{"tp", "TP", "tensor parallelism on all devices", pure(search.TP)},
	{"pp", "PP", "a pipeline with a stage a device, of equally many layers", func(o *planner.Options) {
		o.Stages, o.Mode = []int{o.Space.Devices}, search.ModeEven
	}},
	{"no-ckpt", "no CKPT", "even without checkpointing", func(o *planner.Options) { o.Mode = search.ModeEven }},
	{"uniform", "uniform", "even with one strategy for all layers", func(o *planner.Options) {
		o.Space.Checkpoint, o.Uniform, o.Mode = true, true, search.ModeEven
	}},
	{"even", "even", "stages of equally many layers, the strategy of each layer chosen", func(o *planner.Options) {
		o.Space.Checkpoint, o.Mode = true, search.ModeEven
	}},
	{methodBMW, "BMW", "Galvatron-BMW: partitions by its bi-objective search", func(o *planner.Options) {
		o.Space.Checkpoint, o.Mode = true, search.ModeBMW
	}},
	{methodExact, "exact", "the best partition there is", func(o *planner.Options) {
		o.Space.Checkpoint, o.Mode = true, search.ModeExact
	}},
}

// The methods that the others are held against.
const (
	methodBMW   = "bmw"
	methodExact = "exact"
)

// pure has one paradigm on all devices.
func pure(p search.Paradigm) func(*planner.Options) {
	return func(o *planner.Options) { o.Stages, o.Space.Paradigms = []int{1}, []search.Paradigm{p} }
}

// SearchMethods are the names of the methods of the suite search.
func SearchMethods() []string {
	var names []string
	for _, m := range searchMethods {
		names = append(names, m.Label)
	}
	return names
}

// searchMicros are the numbers of micro-batches that are tried, where they divide
// a batch.
var searchMicros = []int{1, 2, 4, 8, 16, 32, 64}

// searchSchedules leave out GPipe, which takes as long as 1F1B by the formula and
// never less memory.
var searchSchedules = []parallel.Schedule{parallel.OneFOneB}
