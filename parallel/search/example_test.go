package search_test

import (
	"fmt"
	"slices"

	"github.com/galvani-ml/galvani/parallel"
	"github.com/galvani-ml/galvani/parallel/search"
)

// Two stages of two devices each. The first stage holds two micro-batches, so
// with equal layers it has to recompute, or to have fewer of them.
func Example() {
	space := &search.Space{Devices: 4, Checkpoint: true, Paradigms: []search.Paradigm{search.DP}}
	block := &search.Layer{Name: "block", Strategies: space.Strategies(2)}
	for _, s := range block.Strategies {
		cost := search.Cost{Time: 3, Sync: 1, States: 60, Activation: 60}
		if s.Checkpoint {
			cost = search.Cost{Time: 5, Sync: 1, States: 60, Activation: 10, Peak: 60}
		}
		block.Costs = append(block.Costs, cost)
	}
	solver, err := search.New(&search.Problem{
		Layers: slices.Repeat([]*search.Layer{block}, 8),
		Stages: 2, Micro: 8, Schedule: parallel.OneFOneB, Budget: []int64{600},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, find := range []func() (*search.Solution, error){
		func() (*search.Solution, error) { return solver.Solve(solver.Even()) }, solver.BMW, solver.Exact,
	} {
		solution, err := find()
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(solution.Time, "s, blocks", solution.Partition)
		for _, stage := range solution.Stages {
			fmt.Println("  strategies", stage.Choice, "memory", stage.Memory)
		}
	}
	// Output:
	// 144 s, blocks [4 4]
	//   strategies [1 0 1 0] memory 520
	//   strategies [0 0 0 0] memory 480
	// 134 s, blocks [3 5]
	//   strategies [0 0 0] memory 540
	//   strategies [0 0 0 0 0] memory 600
	// 134 s, blocks [3 5]
	//   strategies [0 0 0] memory 540
	//   strategies [0 0 0 0 0] memory 600
}
