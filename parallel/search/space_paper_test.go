package search

import (
	"slices"
	"testing"

	"github.com/galvani-ml/galvani/parallel"
)

// Galvatron: "8 GPUs 34 -> 22 by takeaway 3; with CKPT 68 -> 44", and the
// counts for other numbers of devices: no pruning, pruned, pruned with CKPT.
func TestPaperCandidates(t *testing.T) {
	for _, want := range []struct{ devices, unpruned, pruned, checkpointed int }{
		{4, 13, 11, 22}, {8, 34, 22, 44}, {16, 73, 37, 74}, {32, 136, 56, 112}, {64, 229, 79, 158},
	} {
		unpruned := (&Space{Devices: want.devices, Mixed: true}).Count()
		pruned := (&Space{Devices: want.devices}).Count()
		checkpointed := (&Space{Devices: want.devices, Checkpoint: true}).Count()
		if unpruned != want.unpruned || pruned != want.pruned || checkpointed != want.checkpointed {
			t.Errorf("%d devices: %d, %d, %d candidates, want %+v", want.devices, unpruned, pruned, checkpointed, want)
		}
	}
}

// Galvatron: of the 22 candidates on 8 devices, "pp1: 11, pp2: 7, pp4: 3,
// pp8: 1".
func TestPaperCandidatesByStages(t *testing.T) {
	space := &Space{Devices: 8}
	for stages, want := range map[int]int{1: 11, 2: 7, 4: 3, 8: 1} {
		if got := len(space.Strategies(stages)); got != want {
			t.Errorf("pp%d: %d strategies, want %d", stages, got, want)
		}
	}
}

// Takeaway 1: "PP between device islands (least traffic)", so "PP outermost".
func TestPaperPipelineOutermost(t *testing.T) {
	pruned := map[string]bool{}
	for _, tree := range (&Space{Devices: 8}).Layouts() {
		pruned[tree.String()] = true
		for level, l := range tree {
			if l.Paradigm == PP && level > 0 {
				t.Errorf("%v has the pipeline inside", tree)
			}
		}
	}
	inside := 0
	for _, tree := range (&Space{Devices: 8, PipelineAnywhere: true}).Layouts() {
		if pruned[tree.String()] {
			continue
		}
		inside++
		if _, ok := tree.Strategy(); ok || tree[0].Paradigm == PP {
			t.Errorf("%v is left out", tree)
		}
	}
	// PP with one of the 3 in 2*1 ways to share 8, once inside, and with TP and
	// DP or SDP in 1 way, in 4 of 6 orders
	if inside != 3*2+2*4 {
		t.Errorf("%d layouts have the pipeline inside", inside)
	}
}

// Takeaway 2: "homogeneous devices -> equal groups"; "P in powers of two; devices
// split evenly and contiguously into P groups of g = N/P".
func TestPaperEqualGroups(t *testing.T) {
	space := &Space{Devices: 64}
	for _, stages := range space.Stages() {
		if stages&(stages-1) != 0 {
			t.Errorf("pp%d is no power of two", stages)
		}
		if groups := space.Groups(stages); len(groups) != 1 || slices.Max(groups[0])*stages != 64 {
			t.Errorf("pp%d: groups %v", stages, groups)
		}
		for _, s := range space.Strategies(stages) {
			if s.Ranks()*stages != 64 {
				t.Errorf("pp%d: %v has %d ranks", stages, s, s.Ranks())
			}
		}
	}
	unequal := (&Space{Devices: 8, Unequal: true}).Groups(4)
	if len(unequal) != 1+12 { // and 4, 2, 1, 1 in 12 orders
		t.Errorf("groups %v", unequal)
	}
	for _, g := range unequal {
		if sumOf(g) != 8 {
			t.Errorf("groups %v", g)
		}
	}
}

// Takeaway 3: "never DP and SDP in the same tree".
func TestPaperNoMix(t *testing.T) {
	both := func(tree Tree) bool {
		var dp, sdp bool
		for _, l := range tree {
			dp, sdp = dp || l.Paradigm == DP, sdp || l.Paradigm == SDP
		}
		return dp && sdp
	}
	kept := map[string]bool{}
	for _, tree := range (&Space{Devices: 16}).Trees(1) {
		kept[tree.String()] = true
		if both(tree) {
			t.Errorf("%v mixes DP and SDP", tree)
		}
	}
	for _, tree := range (&Space{Devices: 16, Mixed: true}).Trees(1) {
		if kept[tree.String()] == both(tree) {
			t.Errorf("%v: kept %v, mixes %v", tree, kept[tree.String()], both(tree))
		}
	}
}

// "level ORDER matters because it decides which ranks are neighbours".
func TestPaperOrder(t *testing.T) {
	seen := map[parallel.Strategy]bool{}
	for _, tree := range (&Space{Devices: 8}).Trees(1) {
		s, ok := tree.Strategy()
		if !ok || seen[s] {
			t.Errorf("%v is %v, which another tree is", tree, s)
		}
		seen[s] = true
		plan := &parallel.Plan{PP: 1, Strategy: s, Micro: 1, Schedule: parallel.OneFOneB}
		mesh := plan.Mesh()[1:]
		if len(mesh) != len(tree) {
			t.Fatalf("%v has mesh %v", tree, mesh)
		}
		for i, l := range tree {
			if mesh[i].Name != string(l.Paradigm.Role()) || mesh[i].Size != l.Degree {
				t.Errorf("%v has mesh %v", tree, mesh)
			}
		}
	}
}

// Further dimensions are options of the same tree.
func TestFurtherDimensions(t *testing.T) {
	space := &Space{
		Devices: 8, Paradigms: []Paradigm{DP, ZeRO1, ZeRO2, SDP, TP, TPSP, SP, CP},
		Checkpoint: true, MaxDegree: map[Paradigm]int{SP: 2},
	}
	all := space.Strategies(1)
	seen := map[parallel.Strategy]bool{}
	for _, s := range all {
		if seen[s] {
			t.Errorf("%v twice", s)
		}
		seen[s] = true
		if s.Ranks() != 8 || s.SP > 2 {
			t.Errorf("%v is out of the space", s)
		}
		if _, err := parallel.Parse(s.String()); err != nil {
			t.Errorf("%v: %v", s, err)
		}
	}
	for _, want := range []parallel.Strategy{
		{DP: 8, TP: 1, ZeRO: 2}, {DP: 1, TP: 1, CP: 8, ZeRO: 3}, {DP: 4, TP: 1, SP: 2, ZeRO: 1, Checkpoint: true},
		{DP: 2, TP: 4, SequenceParallel: true}, {DP: 2, TP: 2, SP: 2, Order: "sp,tp,dp"},
	} {
		if !seen[want] {
			t.Errorf("%v is missing", want)
		}
	}
	if ordered := (&Space{Devices: 8, OneOrder: true}).Strategies(1); len(ordered) != 7 {
		t.Errorf("%d strategies with one order of levels, want 7", len(ordered))
	}
}

// "a tree whose levels are distinct paradigms from {DP, SDP (ZeRO-3), TP}; each
// level's degree is a power of two >= 2; product = g; a paradigm appears once".
func TestPaperTrees(t *testing.T) {
	for _, devices := range []int{2, 8, 64} {
		for _, tree := range (&Space{Devices: devices, Mixed: true}).Trees(1) {
			product, seen := 1, map[Paradigm]bool{}
			for _, l := range tree {
				if seen[l.Paradigm] || l.Degree < 2 || l.Degree&(l.Degree-1) != 0 || !slices.Contains([]Paradigm{DP, SDP, TP}, l.Paradigm) {
					t.Errorf("%v of %d devices", tree, devices)
				}
				seen[l.Paradigm], product = true, product*l.Degree
			}
			if product != devices {
				t.Errorf("%v has %d of %d devices", tree, product, devices)
			}
		}
	}
}

// "devices split evenly and contiguously into P groups": the ranks of a stage
// follow each other, whatever its layers' strategies.
func TestPaperContiguousGroups(t *testing.T) {
	for _, stages := range (&Space{Devices: 16}).Stages() {
		for _, s := range (&Space{Devices: 16}).Strategies(stages) {
			mesh := (&parallel.Plan{PP: stages, Strategy: s, Micro: 1, Schedule: parallel.OneFOneB}).Mesh()
			inner := 1
			for _, axis := range mesh[1:] {
				inner *= axis.Size
			}
			if mesh[0].Name != string(parallel.AxisPP) || mesh[0].Size != stages || inner*stages != 16 {
				t.Errorf("pp%d, %v: mesh %v", stages, s, mesh)
			}
		}
	}
}

// The flag of version 1: "TP ranks consecutive, flag tp: 1; DP above TP: flag 0".
// Every pair of degrees has a strategy of each kind: with neighbours in TP, and in
// DP or SDP.
func TestPaperConsecutive(t *testing.T) {
	type pair struct{ dp, zero, tp int }
	orders := map[pair]int{}
	for _, s := range (&Space{Devices: 16}).Strategies(1) {
		if s.DP > 1 && s.TP > 1 {
			orders[pair{s.DP, s.ZeRO, s.TP}]++
		}
	}
	if len(orders) != 2*3 {
		t.Errorf("%v: want 2x8, 4x4 and 8x2 of DP and of SDP", orders)
	}
	for p, n := range orders {
		if n != 2 {
			t.Errorf("%+v has %d orders", p, n)
		}
	}
}

// "v2.0 reports 44 (8 GPUs) and 70 (16 GPUs: 74 less TP16 and PP16, each x2 for
// CKPT)".
func TestPaperCandidatesOf2(t *testing.T) {
	for devices, want := range map[int]int{8: 44, 16: 70} {
		space := &Space{Devices: devices, Checkpoint: true, MaxDegree: map[Paradigm]int{TP: 8, PP: 8}}
		if got := space.Count(); got != want {
			t.Errorf("%d devices: %d candidates, want %d", devices, got, want)
		}
	}
}

// "CKPT is one further yes/no per layer (doubles the leaves)".
func TestPaperCheckpointDoubles(t *testing.T) {
	plain, both := (&Space{Devices: 8}).Strategies(2), (&Space{Devices: 8, Checkpoint: true}).Strategies(2)
	if len(both) != 2*len(plain) {
		t.Errorf("%d strategies with checkpointing, %d without", len(both), len(plain))
	}
	for _, s := range both {
		s.Checkpoint = false
		if !slices.Contains(plain, s) {
			t.Errorf("%v is none without checkpointing", s)
		}
	}
}
