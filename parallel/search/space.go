package search

import (
	"slices"

	"github.com/galvani-ml/galvani/parallel"
)

// Space says which strategies layers may have. The zero value but for Devices
// is Galvatron's space without checkpointing: the trees over DP, SDP and TP,
// pruned by its take-aways.
type Space struct {
	Devices   int        // of all stages
	Paradigms []Paradigm // empty for DP, SDP and TP
	// Checkpoint has every strategy also with recomputation.
	Checkpoint bool
	// MaxDegree bounds degrees. A paradigm that is missing has no bound.
	MaxDegree map[Paradigm]int
	// Mixed also lists trees that share one thing in two ways, as DP and SDP.
	// Galvatron's third take-away leaves them out: SDP alone is as good. No
	// strategy can express them.
	Mixed bool
	// PipelineAnywhere has layouts with the pipeline at any level of the tree.
	// Galvatron's first take-away puts it outermost, as it sends least, so that
	// it crosses between islands of devices. No plan can express the others.
	PipelineAnywhere bool
	// Unequal has groups of devices of different sizes. Galvatron's second
	// take-away makes them equal, as devices are. No plan can express the others.
	Unequal bool
	// OneOrder lists of the trees that differ in the order of levels only the
	// one in the order of [parallel.Roles].
	OneOrder bool
}

// paradigms returns those of the space.
func (s *Space) paradigms() []Paradigm {
	if len(s.Paradigms) == 0 {
		return []Paradigm{DP, SDP, TP}
	}
	return s.Paradigms
}

// Stages returns the pipeline degrees: the divisors of the number of devices,
// powers of two where that is one.
func (s *Space) Stages() []int {
	var degrees []int
	for p := 1; p <= s.Devices; p++ {
		if s.Devices%p == 0 {
			degrees = append(degrees, p)
		}
	}
	return degrees
}

// Groups returns the ways to divide the devices among stages: equally, and,
// where the space is Unequal, in every other way into powers of two.
func (s *Space) Groups(stages int) [][]int {
	all := [][]int{slices.Repeat([]int{s.Devices / stages}, stages)}
	if !s.Unequal {
		return all
	}
	for _, g := range powers(s.Devices, stages) {
		if slices.Min(g) != slices.Max(g) {
			all = append(all, g)
		}
	}
	return all
}

// powers lists the ways to write n as a sum of so many powers of two.
func powers(n, terms int) [][]int {
	if terms == 0 {
		if n == 0 {
			return [][]int{nil}
		}
		return nil
	}
	var all [][]int
	for p := 1; p <= n; p *= 2 {
		for _, rest := range powers(n-p, terms-1) {
			all = append(all, append([]int{p}, rest...))
		}
	}
	return all
}

// Layouts returns the trees of all devices, of which the pipeline is a level.
func (s *Space) Layouts() []Tree {
	var kept []Tree
	for _, t := range trees(s.Devices, append([]Paradigm{PP}, s.paradigms()...)) {
		at := slices.IndexFunc(t, func(l Level) bool { return l.Paradigm == PP })
		if s.has(t) && (at <= 0 || s.PipelineAnywhere) {
			kept = append(kept, t)
		}
	}
	return kept
}

// Trees returns the decision trees of a group of devices when there are so many
// stages.
func (s *Space) Trees(stages int) []Tree {
	var kept []Tree
	for _, t := range trees(s.Devices/stages, s.paradigms()) {
		if s.has(t) {
			kept = append(kept, t)
		}
	}
	return kept
}

// has says that the tree is in the space.
func (s *Space) has(t Tree) bool {
	for _, l := range t {
		if bound, ok := s.MaxDegree[l.Paradigm]; ok && l.Degree > bound {
			return false
		}
	}
	if s.OneOrder && !slices.IsSortedFunc(t, func(a, b Level) int { return rank(a) - rank(b) }) {
		return false
	}
	return s.Mixed || !t.mixed()
}

// Strategies returns the strategies of a layer when there are so many stages.
// Where the sequence is split, and the batch is not, ranks hold the same
// parameters all the same: then there is one strategy for each stage of ZeRO in
// the space.
func (s *Space) Strategies(stages int) []parallel.Strategy {
	var all []parallel.Strategy
	add := func(st parallel.Strategy) {
		if !slices.Contains(all, st) {
			all = append(all, st)
		}
	}
	for _, t := range s.Trees(stages) {
		st, ok := t.Strategy()
		if !ok {
			continue
		}
		add(st)
		if st.Degree(parallel.RoleDP) > 1 || st.Degree(parallel.RoleSP)*st.Degree(parallel.RoleCP) == 1 {
			continue
		}
		for _, p := range s.paradigms() {
			if p.Role() == parallel.RoleDP {
				st.ZeRO = zero[p]
				add(st)
			}
		}
	}
	if s.Checkpoint {
		for _, st := range slices.Clone(all) {
			st.Checkpoint = true
			all = append(all, st)
		}
	}
	return all
}

// Count returns the number of candidates: the layouts, twice with checkpointing.
func (s *Space) Count() int {
	n := len(s.Layouts())
	if s.Checkpoint {
		n *= 2
	}
	return n
}
